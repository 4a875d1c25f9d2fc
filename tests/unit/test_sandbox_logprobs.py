"""The sandbox's made-up probabilities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.sandbox.logprobs import LOGPROB, Token, likeliest, tokens


@given(st.text())
def test_tokens_put_together_are_the_text(text: str) -> None:
    """Nothing is lost between them."""
    assert "".join(token.text for token in tokens(text)) == text


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_likeliest_begin_with_the_token_itself(most: int) -> None:
    """As many as asked for, each less likely than the one before."""
    found = likeliest(Token("word", LOGPROB), most)
    assert [token.text for token in found] == ["word", "?", "??"][:most]
    assert [token.logprob for token in found] == [-0.25, -1.25, -2.25][:most]

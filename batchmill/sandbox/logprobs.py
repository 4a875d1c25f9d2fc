"""Probabilities of tokens, made up: a text in pieces of a few letters, each as likely as every other."""

from typing import Final, NamedTuple

LETTERS: Final = 4
"""In a piece, the last one aside."""
LOGPROB: Final = -0.25


class Token(NamedTuple):
    """A piece of a text, or what might have stood in its place."""

    text: str
    logprob: float


def tokens(text: str) -> list[Token]:
    """The text in pieces; put together they are the text."""
    return [Token(text[at : at + LETTERS], LOGPROB) for at in range(0, len(text), LETTERS)]


def likeliest(token: Token, most: int) -> list[Token]:
    """The token itself and others that are less likely, `most` in all."""
    others = [Token("?" * place, token.logprob - place) for place in range(1, most)]
    return [token, *others][:most]

"""Tokens: what is counted how, and what is owned to be an estimate."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import BatchmillError
from batchmill.requests.model import Endpoint
from batchmill.tokens import count, encodings
from batchmill.tokens.count import ROLES, TokenCount, count_request, count_text
from batchmill.tokens.encodings import RECIPES, EncodingName, encoding, read_ranks
from batchmill.tokens.models import tokenizer_of
from batchmill.tokens.rebuild import expand, rebuild

O200K, CL100K = EncodingName.O200K, EncodingName.CL100K
USER = {"role": "user", "content": "hello world"}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", O200K),
        ("gpt-4o-2024-08-06", O200K),
        ("gpt-4.1", O200K),
        ("gpt-4.1-nano-2025-04-14", O200K),
        ("gpt-5", O200K),
        ("gpt-5.2-pro", O200K),
        ("o1", O200K),
        ("o3-mini", O200K),
        ("o4-mini-2025-04-16", O200K),
        ("gpt-oss-120b", O200K),
        ("gpt-4", CL100K),
        ("gpt-4-turbo", CL100K),
        ("gpt-3.5-turbo-0125", CL100K),
        ("text-embedding-3-large", CL100K),
        ("text-embedding-ada-002", CL100K),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", O200K),
        ("ft:gpt-4.1-mini-2025-04-14:acme::x", O200K),
        ("ft:gpt-3.5-turbo-0125:acme::x", CL100K),
        ("openai/gpt-4o", O200K),
    ],
)
def test_models_of_openai(model: str, name: EncodingName) -> None:
    """Their text is counted exactly, each by its own encoding; a fine-tuned model by that of its base."""
    tokenizer = tokenizer_of(model)
    assert (tokenizer.encoding, tokenizer.percent, tokenizer.is_exact) == (name, 100, True)
    assert count_text(model, "hello world") == TokenCount(tokens=2, is_exact=True)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-opus-4-8", 15),
        ("anthropic/claude-sonnet-5", 15),
        ("gemini-3-pro", 12),
        ("llama3.2:3b", 12),
        ("text-davinci-003", 12),
        ("ft:llama:x", 12),
        ("ft:", 12),
        ("", 12),
    ],
)
def test_other_vendors_are_estimated(model: str, tokens: int) -> None:
    """o200k_base times a factor, rounded up, and marked as an estimate; so is whatever has no known name."""
    assert count_text(model, "one two three four five six seven eight nine ten") == TokenCount(
        tokens=tokens, is_exact=False
    )


@pytest.mark.parametrize("name", EncodingName)
def test_vendored_ranks_are_those_tiktoken_expects(name: EncodingName) -> None:
    """Every rank from 0 on, once and in order; `read_ranks` has compared the hash with tiktoken's."""
    words = read_ranks(name).split()
    assert [int(rank) for rank in words[1::2]] == list(range(len(words) // 2))
    source = Path(__import__("tiktoken_ext.openai_public", fromlist=["x"]).__file__).read_text()
    assert f'expected_hash="{RECIPES[name].sha256}"' in source


def test_damaged_ranks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be unpacked, or whose hash is another, is told; nothing is counted with it."""
    (tmp_path / "ranks").mkdir()
    monkeypatch.setattr(encodings.resources, "files", lambda _: tmp_path)
    good = (Path(encodings.__file__).with_name("ranks") / f"{CL100K}.tiktoken.xz").read_bytes()
    file = tmp_path / "ranks" / f"{O200K}.tiktoken.xz"
    for content in (b"", b"no xz", good, good[:-1000]):
        file.write_bytes(content)
        with pytest.raises(BatchmillError, match="o200k_base in this installation are damaged"):
            read_ranks(O200K)


def test_ranks_are_rebuilt_to_the_byte(tmp_path: Path) -> None:
    """npm's packed lines become tiktoken's; ranks that are not the expected ones are refused and nothing is written."""
    packed = {}
    for name in EncodingName:
        tokens = read_ranks(name).decode().split()[::2]
        half = len(tokens) // 2
        packed[name] = f"! 0 {' '.join(tokens[:half])}\n! {half} {' '.join(tokens[half:])}\n"
        assert expand(packed[name]) == read_ranks(name)
    (tmp_path / "encoders").mkdir()
    wrong = packed[O200K].replace("! 0 IQ==", "! 0 Ig==")
    (tmp_path / "encoders" / f"{O200K}.json").write_text(json.dumps({"bpe_ranks": wrong}))
    with pytest.raises(ValueError, match="o200k_base: the sha256 is"):
        rebuild(tmp_path, target=tmp_path)
    assert not list(tmp_path.glob("*.xz"))


def test_an_encoding_is_loaded_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads at once get one and the same."""
    monkeypatch.setattr(encodings, "_loaded", {})
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        found.append(encoding(CL100K))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1


def chat(model: str, *messages: object, **body: object) -> TokenCount:
    """The count of a chat request."""
    return count_request(model, Endpoint.CHAT, {"model": model, "messages": list(messages)} | body)


def test_a_chat_is_framed_as_openai_documents_it() -> None:
    """3 a message, 1 for a name, 3 for the answer, and the text of roles and contents. The example and its 129 are
    those of OpenAI's cookbook, where the API itself counted 129 (gpt-3.5-turbo, gpt-4) and 124 (gpt-4o)."""
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain"
            " English.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "New synergies will help drive top-line growth.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased"
            " leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
    ]
    assert chat("gpt-4-0613", *messages) == TokenCount(tokens=129, is_exact=True)
    assert chat("gpt-3.5-turbo", *messages) == TokenCount(tokens=129, is_exact=True)
    assert chat("gpt-4o", *messages) == TokenCount(tokens=124, is_exact=True)
    assert chat("gpt-5", *messages) == TokenCount(tokens=124, is_exact=False)
    assert chat("o3", *messages) == TokenCount(tokens=124, is_exact=False)


def test_text_parts_count_as_text() -> None:
    """A content in parts that are all text is as exact as one string."""
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": " world"}]
    assert chat("gpt-4o", {"role": "user", "content": parts}) == chat("gpt-4o", USER)
    assert chat("gpt-4o", {"role": "assistant", "content": None}, USER).is_exact


@pytest.mark.parametrize(
    ("part", "least"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 99_999}}, 765),
        ({"type": "input_audio", "input_audio": {"data": "A" * 3_200_000, "format": "mp3"}}, 2_000),
        ({"type": "file", "file": {"file_id": "file-1"}}, 1_000),
        ({"type": "something_new"}, 1_000),
        (7, 1_000),
    ],
)
def test_what_is_no_text_is_estimated(part: object, least: int) -> None:
    """Images, audio, files and parts nobody has heard of: a number, marked; a base64 image is not taken for text."""
    counted = chat("gpt-4o", {"role": "user", "content": [part]})
    assert not counted.is_exact
    assert counted.tokens == least + 3 + 3 + 1


def test_the_mini_model_counts_images_higher() -> None:
    """gpt-4o-mini takes some 33 times the tokens for an image; the price per image is the same."""
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    assert chat("gpt-4o-mini", image).tokens > 25_501 >= 33 * 765


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"functions": [{"name": "f"}]},
    ],
)
def test_tools_and_schemas_are_estimated(body: dict[str, object]) -> None:
    """They add to the count, and make it an estimate."""
    counted = chat("gpt-4o", USER, **body)
    assert counted.tokens > chat("gpt-4o", USER).tokens
    assert not counted.is_exact


def test_earlier_tool_calls_are_estimated() -> None:
    """An assistant's tool calls count as their JSON."""
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    counted = chat("gpt-4o", USER, call, {"role": "tool", "tool_call_id": "c", "content": "4"})
    assert counted.tokens > chat("gpt-4o", USER).tokens + 10
    assert not counted.is_exact


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens", "is_exact"),
    [
        (Endpoint.EMBEDDINGS, {"input": "hello world"}, 2, True),
        (Endpoint.EMBEDDINGS, {"input": ["hello world", "hello"]}, 3, True),
        (Endpoint.EMBEDDINGS, {"input": [1, 2, 3]}, 3, True),
        (Endpoint.EMBEDDINGS, {"input": [[1, 2], [3]]}, 3, True),
        (Endpoint.EMBEDDINGS, {}, 0, True),
        (Endpoint.COMPLETIONS, {"prompt": ["hello world"]}, 2, True),
        (Endpoint.MODERATIONS, {"input": [{"type": "text", "text": "hello"}]}, 1, True),
        (Endpoint.RESPONSES, {"input": "hello world"}, 2 + 4 + 3, False),
        (Endpoint.RESPONSES, {"input": "hello", "instructions": "world"}, 2 + 4 + 4 + 3, False),
        (Endpoint.RESPONSES, {"input": [USER]}, 2 + 4 + 3, False),
        (Endpoint.RESPONSES, {"prompt": {"id": "pmpt_1"}}, 3, False),
    ],
)
def test_other_endpoints(endpoint: Endpoint, body: dict[str, object], tokens: int, is_exact: bool) -> None:
    """Plain text is exact wherever it stands; the framing of responses is not documented."""
    assert count_request("text-embedding-3-small", endpoint, body) == TokenCount(
        tokens=tokens, is_exact=is_exact
    )


@given(st.text(alphabet=st.sampled_from("ab Z9'\n\t.é好\u2028s")), st.sampled_from(EncodingName))
def test_a_cut_before_white_space_changes_no_count(text: str, name: EncodingName) -> None:
    """Where long text is cut, no token would have spanned the cut."""
    whole = encoding(name).encode_ordinary(text)
    for seam in count._SEAM.finditer(text):
        left, right = text[: seam.end()], text[seam.end() :]
        assert encoding(name).encode_ordinary(left) + encoding(name).encode_ordinary(right) == whole


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_long_text_is_counted_in_pieces(model: str) -> None:
    """Prose of any length is exact. A single word or white space without end, on which tiktoken overflows its
    stack, is counted all the same, as an estimate."""
    name = tokenizer_of(model).encoding
    prose = "The mill grinds on, line by line.\nNobody has seen it stop; not once.  " * 6_000
    assert count_text(model, prose) == TokenCount(
        tokens=len(encoding(name).encode_ordinary(prose)), is_exact=True
    )
    for endless in (" " * 2_000_000, "好" * 250_000):
        counted = count_text(model, endless)
        assert not counted.is_exact
        assert 0 < counted.tokens <= len(endless)


def test_half_a_surrogate_pair_is_counted() -> None:
    """Text that is no valid Unicode is counted like its replacement character."""
    assert count_text("gpt-4o", "\ud800") == count_text("gpt-4o", "\ufffd")


@pytest.mark.parametrize("name", list(EncodingName))
def test_a_role_is_one_token(name: EncodingName) -> None:
    """That a role need not be encoded to be counted holds for every role there is, in both encodings."""
    assert {len(encoding(name).encode_ordinary(role)) for role in ROLES} == {1}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_message_counts_its_text_whatever_its_role(role: str) -> None:
    """Also that of instructions, which is remembered: for each encoding its own, and of any length."""
    for text in ("Zählt in beiden Kodierungen anders: Übergrößenträger, 1234567.", "word " * 30_000, ""):
        for model in ("gpt-4o", "gpt-4", "gpt-4o"):
            counted = chat(model, {"role": role, "content": text})
            assert counted == TokenCount(tokens=7 + count_text(model, text).tokens, is_exact=True)

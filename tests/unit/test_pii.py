"""What is somebody's is found by pattern and checksum, and little else is."""

import asyncio
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn

from batchmill.errors import SettingsError
from batchmill.pii import replies
from batchmill.pii.model import Kind
from batchmill.pii.redactor import Redactor, redacted_json
from batchmill.providers.base import Reply, Verdict
from batchmill.training.duplicates import Duplicates

FOUND = {
    Kind.EMAIL: ["anna.b+news@example.co.uk", "A_1@sub.example.org"],
    Kind.PHONE: [
        "+49 30 901820",
        "+1 (212) 555-0123",
        "(212) 555-0123",
        "212-555-0123",
        "020 7946 0958",
        "06 12 34 56 78",
        "0171/1234567",
    ],
    Kind.CARD: ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005"],
    Kind.IBAN: ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "de89370400440532013000"],
    Kind.NATIONAL_ID: [
        "536-90-4399",
        "12345678Z",
        "X1234567L",
        "RSSMRA85T10A562S",
        "529.982.247-25",
        "AB 12 34 56 C",
        "811228-9874",
        "1 85 05 78 006 084 91",
    ],
    Kind.IP: ["8.8.8.8", "2a00:1450:4001:81b::200e"],
    Kind.SECRET: [
        "sk-proj-abcdefghijklmnopqrstuv",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
    ],
}
NOT_FOUND = [
    "3.1415926535897932 and 2.718281828459045",
    "16 - 7 = <<16-7=9>>9, and 130,000*150% = $<<130000*150*.01=195000.0>>195,000",
    "500-200-1000 = -700; 212-555-0123 = -466; 1 000 000 000 000",
    "on 03/12/1999, 2026-11-28 at 12:30:45, or 28.11.2026",
    "v1.2.3.4, 10.0.0.1, 127.0.0.1, 192.168.1.20, 203.0.113.9, std::vector, ::1, add::face",
    "4111 1111 1111 1112, 1234 5678 9012 3456, 0000 0000 0000 0000",
    "DE88370400440532013000, 12345678A, 000-12-3456, 529.982.247-24",
    "me@localhost, @decorator, price@5.00, a @ b.com",
    "sk-short, the risk-taking-behaviour-of-people, eyJ.a.b",
    "12345678901234567890123456789012345678901234567890",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_is_somebody_s_is_replaced(kind: Kind, text: str) -> None:
    """Each way of writing it, amid a sentence, at its end, and in brackets."""
    redactor = Redactor()
    assert (
        redactor.text(f"It is {text}, ({text}) or {text}.")
        == f"It is [{kind}_1], ([{kind}_1]) or [{kind}_1]."
    )
    assert redactor.counts == {kind: 3}


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_stays(text: str) -> None:
    """Sums, dates, versions, private addresses, and numbers whose checksum is wrong."""
    assert Redactor().text(text) == text


def test_what_is_named_is_found_by_its_name() -> None:
    """Numbers that are too short to be told from others count where a word says what they are."""
    text = "PESEL: 44051401359, 44051401359 apples. Phone 415 555 2671, 415 555 2671 pears."
    assert (
        Redactor().text(text)
        == "PESEL: [NATIONAL_ID_1], 44051401359 apples. Phone [PHONE_1], 415 555 2671 pears."
    )


def test_a_password_in_a_url() -> None:
    """It goes, the address stays."""
    assert (
        Redactor().text("postgres://bob:hunter2@db.example.com/x") == "postgres://[SECRET_1]@db.example.com/x"
    )


def test_the_same_has_the_same_placeholder() -> None:
    """However it is written, over all texts of a conversation; another has another."""
    redactor = Redactor()
    assert redactor.text("a@example.com, b@example.com") == "[EMAIL_1], [EMAIL_2]"
    assert redactor.text("A@Example.com") == "[EMAIL_1]"
    assert redactor.text("4111-1111-1111-1111 4111 1111 1111 1111") == "[CARD_1] [CARD_1]"


def test_placeholders_that_are_there_keep_their_numbers() -> None:
    """A text that was redacted before is not confused with what comes anew."""
    text = "[EMAIL_2] asked b@example.com"
    assert Redactor([text]).text(text) == "[EMAIL_2] asked [EMAIL_3]"


_pieces = st.sampled_from(
    [one for texts in FOUND.values() for one in texts]
    + NOT_FOUND
    + ["phone ", "+", "1", " ", "-", ".", "@", "[EMAIL_1]"]
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(_pieces, st.text(max_size=8)), max_size=8).map("".join))
def test_once_more_changes_nothing(text: str) -> None:
    """Whatever stands beside whatever."""
    once = Redactor([text]).text(text)
    assert Redactor([once]).text(once) == once


@settings(max_examples=20, deadline=None)
@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.integers(0, 14), st.integers(1, 9))
def test_a_card_is_told_by_its_checksum(begin: str, place: int, by: int) -> None:
    """Any number of a brand with the right last digit is found; with one digit wrong it is not."""
    card = begin + luhn.calc_check_digit(begin)
    wrong = card[:place] + str((int(card[place]) + by) % 10) + card[place + 1 :]
    if len(set(card)) > 1:
        assert Redactor().text(f"card {card}") == "card [CARD_1]"
    assert "CARD" not in Redactor().text(f"card {wrong}")


@settings(max_examples=20, deadline=None)
@given(st.from_regex(r"[0-9]{18}", fullmatch=True), st.integers(1, 96))
def test_an_iban_is_told_by_its_checksum(account: str, off: int) -> None:
    """Any account with the right check digits is found; with wrong ones it is not."""
    right = iban.calc_check_digits(f"DE00{account}")
    wrong = f"{(int(right) - 2 + off) % 97 + 2:02}"
    assert Redactor().text(f"to DE{right}{account}") == "to [IBAN_1]"
    assert "IBAN" not in Redactor().text(f"to DE{wrong}{account}")


BODY = {
    "id": "chatcmpl-4111111111111111",
    "model": "gpt-4o-mini",
    "choices": [
        {
            "message": {
                "role": "assistant",
                "content": "Write to a@example.com",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {
                            "name": "pay",
                            "arguments": '{"card": 4111111111111111, "to": {"a@example.com": 1}}',
                        },
                    }
                ],
            },
            "logprobs": {"content": [{"token": "a@example.com"}]},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 7},
}


def test_a_provider_s_answer() -> None:
    """Texts and arguments are redacted, arguments stay JSON, log probabilities go, all else stays."""
    redacted = orjson.loads(redacted_json(orjson.dumps(BODY)))
    (choice,) = redacted["choices"]
    assert choice["message"]["content"] == "Write to [EMAIL_1]"
    (call,) = choice["message"]["tool_calls"]
    assert orjson.loads(call["function"]["arguments"]) == {"card": "[CARD_1]", "to": {"[EMAIL_1]": 1}}
    assert choice["logprobs"] is None
    assert (redacted["id"], redacted["usage"], call["id"]) == (BODY["id"], BODY["usage"], "call_1")
    assert b"example.com" not in redacted_json(orjson.dumps(BODY))


def test_an_answer_with_nothing_of_anybody_s() -> None:
    """Byte for byte as it was, whatever its spelling."""
    body = b'{ "choices": [{"message": {"content": "four"}, "logprobs": {"x": 1e2}}] }'
    assert redacted_json(body) is body


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON, a@example.com",
        b'{"choices": ' + b"[" * 600 + b'"a@example.com"' + b"]" * 600 + b"}",
        orjson.dumps({"arguments": "[" * 600 + '"a@example.com"' + "]" * 600}),
    ],
)
def test_an_answer_that_cannot_be_taken_apart(body: bytes) -> None:
    """No JSON, or nested too deeply to be written again: redacted all the same."""
    assert redacted_json(body).count(b"[EMAIL_1]") == 1
    assert b"@" not in redacted_json(body)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with what to do, before anything is redacted or exported."""
    for module in ("rensa", "batchmill.pii.patterns"):
        monkeypatch.setitem(sys.modules, module, None)
    for needs_it in (Redactor, lambda: Duplicates(0.9)):
        with pytest.raises(SettingsError) as error:
            needs_it()
        assert error.value.hint == "pip install 'batchmill[training]'"
    assert not Duplicates(None).is_same(b"{}")


@pytest.mark.parametrize("times", [1, 1_000])
def test_a_reply_on_its_way(times: int) -> None:
    """Short ones at once, long ones in a thread; also what an error says. What it cost is not touched."""
    body = orjson.dumps({"choices": [{"message": {"content": "Ask a@example.com. " * times}}]})
    reply = Reply(verdict=Verdict.REFUSED, body=body, error_message="no a@example.com", finish_reason="stop")
    redacted = asyncio.run(replies.redact(reply))
    assert b"@" not in (redacted.body or b"")
    assert (redacted.error_message, redacted.finish_reason) == ("no [EMAIL_1]", "stop")
    clean = Reply(verdict=Verdict.ANSWERED, body=b'{"choices":[]}')
    assert asyncio.run(replies.redact(clean)) is clean

"""Evidence: what a provider says that calls cost, read line by line."""

from io import BytesIO

import pytest

from batchmill.budgets.evidence import BadEvidence, Evidence, cost_nanos, read_evidence
from batchmill.errors import InputError
from batchmill.requests.ids import CallName

NAME = "batch_req_abc123_7/2"
CALL = CallName(batch="batch_abc123", place=7, number=2)


def read(text: str) -> list[Evidence | BadEvidence]:
    return list(read_evidence(BytesIO(text.encode())))


@pytest.mark.parametrize(
    "text",
    [
        f"request_id,cost_usd\n{NAME},0.0096\n",
        f"\ufeffmodel,Cost_USD , client_request_id\r\ngpt,0.0096,{NAME}\r\n",
        f'{{"request_id": "{NAME}", "cost_usd": "0.0096", "more": 1}}',
        f'\n{{"x-client-request-id": "{NAME}", "cost_usd": 0.0096}}\n\n',
        f'{{"request_id": "{NAME}", "cost_usd": 9.6e-3}}',
        f'{{"X-Client-Request-Id": "{NAME}", "Cost_USD": 0.0096}}',
    ],
)
def test_csv_and_json_lines_are_read(text: str) -> None:
    """Columns and fields by name, in any order, others passed by; a byte order mark and blank lines do no harm."""
    (said,) = read(text)
    assert isinstance(said, Evidence)
    assert (said.call, said.cost_nanos) == (CALL, 9_600_000)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("-1", "no cost"),
        ("NaN", "no cost"),
        ("Infinity", "no cost"),
        ("$5", "no cost"),
        ("1,5", "no cost"),
        ("1e-5", "no cost"),
        ("", "missing"),
        ("99999999", "no cost"),
    ],
)
def test_a_bad_amount_is_told_with_its_line(cell: str, why: str) -> None:
    """Nothing is taken for money that is none."""
    good, bad = read(f'request_id,cost_usd\n{NAME},0\n{NAME},"{cell}"\n')
    assert isinstance(good, Evidence)
    assert good.cost_nanos == 0
    assert isinstance(bad, BadEvidence)
    assert (bad.line, why in bad.message) == (3, True)


@pytest.mark.parametrize(
    "name", ["", "req_abc", "batch_req_abc_0/1", "batch_req_abc_7", "batch_req_a_99999999999/1"]
)
def test_a_name_that_is_none_of_ours(name: str) -> None:
    """A request id has to be one that we gave."""
    (bad,) = read(f"request_id,cost_usd\n{name},1\n")
    assert isinstance(bad, BadEvidence)


@pytest.mark.parametrize("text", ["", "\n\n", "id,cost\n1,2\n", "request_id\nx\n", "[1]\n"])
def test_what_is_no_evidence_at_all(text: str) -> None:
    """The columns are named in the error."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert "request_id and cost_usd" in caught.value.hint


@pytest.mark.parametrize("column", ["request_id", "COST_USD"])
def test_a_column_that_is_there_twice(column: str) -> None:
    """Which of the two counts is not guessed."""
    with pytest.raises(InputError, match=f"the column {column.lower()} more than once"):
        read(f"request_id,cost_usd,{column}\n{NAME},0.0096,{NAME}\n")


@pytest.mark.parametrize(
    "text",
    [
        f"request_id,client_request_id,cost_usd\nreq_123,{NAME},0\n",
        f'{{"request_id": "req_123", "x-client-request-id": "{NAME}", "cost_usd": 0}}',
    ],
)
def test_the_provider_s_own_id_beside_ours(text: str) -> None:
    """Our name of the call counts, where there is one under its own heading."""
    (said,) = read(text)
    assert isinstance(said, Evidence)
    assert said.call == CALL


def test_bytes_that_are_no_text() -> None:
    """An error, not a crash."""
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_evidence(BytesIO(b"request_id,cost_usd\n\xff\xfe,1\n")))


def test_rows_of_another_length_and_no_json() -> None:
    """Each bad line is told; the others are read on."""
    (bad,) = read(f"request_id,cost_usd\n{NAME}\n")
    assert isinstance(bad, BadEvidence)
    first, second = read(f'{{"request_id": "{NAME}", "cost_usd": 1}}\n[]\n')
    assert isinstance(first, Evidence)
    assert second == BadEvidence(line=2, message="it is no JSON object")


def test_a_cost_is_rounded_once() -> None:
    """More decimals than a nano-dollar has are rounded, half to even."""
    assert [cost_nanos(text) for text in ("0.0000000005", "0.0000000015", 1e-9, 3)] == [
        0,
        2,
        1,
        3_000_000_000,
    ]


@pytest.mark.parametrize("head", ["request_id,cost_usd\n", f'{{"request_id": "{NAME}", "cost_usd": 1}}\n'])
def test_lines_are_counted_as_an_editor_counts_them(head: str) -> None:
    """Blank lines before the first one, and between, count."""
    bad = [said for said in read(f"\n\n{head}\n[]\n") if isinstance(said, BadEvidence)]
    assert [said.line for said in bad] == [5]

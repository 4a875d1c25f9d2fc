"""`batchmill usage`: what the provider's bill says, from our own books."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest

from tests.support.mill import Mill, chat_line, sandbox, write_lines
from tests.support.servers import PostgresCluster

pytestmark = pytest.mark.timeout(300)

TOTAL = ["requests", "calls", "hits", "unknown", "cost_usd"]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mill, int]]:
    """An installation that answered 30 lines of 20 questions and lost the answers to two more, and the bill of those
    that came."""
    folder = tmp_path_factory.mktemp("used")
    lines = [
        chat_line(f"c{n}", f"question {n % 20}", model=("gpt-4o", "gpt-4o-mini")[n % 2]) for n in range(30)
    ]
    lines += [chat_line(f"lost-{n}", f"question {n}", model="sandbox/reset") for n in range(2)]
    source = write_lines(folder / "in.jsonl", lines)
    with closing(Mill(folder=folder)) as mill, sandbox(folder) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("run", source, "-o", folder / "out.jsonl", "--on-unknown", "fail")
        assert "2 calls recorded as unknown" in done.stderr, done.stderr
        yield (
            mill,
            sum(call["cost_nanos"] for call in witness.calls() if call["model"] != "sandbox/reset"),
        )


def test_usage_is_the_bill(used: tuple[Mill, int]) -> None:
    """Calls, hits, what is unknown, and dollars to the nano; rows and total as the documentation shows them."""
    mill, billed_nanos = used
    shown = json.loads(mill("usage", "--json", "--by", "model", "--by", "day").stdout)
    assert list(shown) == ["rows", "total"]
    assert list(shown["total"]) == TOTAL
    total = shown["total"]
    assert (total["requests"], total["calls"], total["hits"], total["unknown"]) == (32, 22, 10, 2)
    unknown_nanos = sum(Decimal(row["cost_usd"]) for row in shown["rows"] if row["model"] == "sandbox/reset")
    assert unknown_nanos == 0
    assert Decimal(total["cost_usd"]) == sum(Decimal(row["cost_usd"]) for row in shown["rows"])
    assert 0 < Decimal(total["cost_usd"]) * 10**9 == billed_nanos
    assert {row["model"] for row in shown["rows"]} == {"gpt-4o", "gpt-4o-mini", "sandbox/reset"}


def test_usage_for_spreadsheets_and_people(used: tuple[Mill, int]) -> None:
    """CSV has the rows of the JSON; the table says what is in total."""
    mill, _ = used
    rows = json.loads(mill.quickly("usage", "--json", "--by", "model", "--since", "1d").stdout)["rows"]
    read = list(csv.DictReader(io.StringIO(mill("usage", "--csv", "--since", "1d").stdout)))
    assert read == [{name: str(value) for name, value in row.items()} for row in rows]
    heading, *lines = mill("usage", "--model", "gpt-4o").stdout.splitlines()
    assert heading.split()[:3] == ["MODEL", "REQUESTS", "CALLS"]
    assert [line.split()[:3] for line in lines] == [["gpt-4o", "15", "10"], ["total", "15", "10"]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--since", "yesterday"], '--since "yesterday"'),
        (["--until", "2026-02-30"], '--until "2026-02-30"'),
        (["--since", "1h", "--until", "2h"], "--since 1h is later than --until 2h"),
        (["--timezone", "Europe/Nowhere"], '"Europe/Nowhere"'),
        (["--batch", "batch_none"], '"batch_none"'),
        (["--by", "weather"], "weather"),
        (["--csv", "--json"], "--csv and --json"),
    ],
)
def test_what_usage_cannot_tell(used: tuple[Mill, int], arguments: list[str], named: str) -> None:
    """What cannot be understood is named, with what can be done."""
    mill, _ = used
    said = mill.refused("usage", *arguments)
    assert named in said
    assert "hint: " in said


def test_usage_of_a_batch_by_any_of_its_names(used: tuple[Mill, int]) -> None:
    """Its first digits, or `latest`, as everywhere."""
    mill, _ = used
    ((name,),) = mill.query("SELECT public_id FROM batches")
    for meant in (name[:12], "latest"):
        rows = json.loads(mill.quickly("usage", "--json", "--by", "batch", "--batch", meant).stdout)["rows"]
        assert [(row["batch"], row["requests"]) for row in rows] == [(name, 32)]


def test_home_that_does_not_exist_yet(mill: Mill) -> None:
    """Nothing was used; and looking makes no home."""
    assert json.loads(mill.quickly("usage", "--json").stdout)["total"] == {
        "requests": 0,
        "calls": 0,
        "hits": 0,
        "unknown": 0,
        "cost_usd": "0",
    }
    assert not mill.home.exists()


def test_database_of_another_schema(mill: Mill, postgres: PostgresCluster) -> None:
    """A shared database that is empty, or cannot be reached, is told with what to do."""
    url = postgres.create(empty=True)
    mill.environ["DATABASE_URL"] = url
    assert "`batchmill db upgrade`" in mill.refused("usage")
    postgres.drop(url)
    mill.environ["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:9/none"
    assert "127.0.0.1:9/none" in mill.refused("usage")

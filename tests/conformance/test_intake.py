"""Intake: what is stored is what was read, and no repeated name gets through, on both databases."""

import io
from collections.abc import Iterator

import orjson
import pytest
from sqlalchemy import select, text

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.errors import DatabaseError, InvalidLinesError, StoppedError
from batchmill.requests.lines import read_lines
from batchmill.requests.model import BatchOptions, BatchState, LineError, RequestLine
from batchmill.routing.addressing import Addressing
from batchmill.routing.upstreams import Upstreams
from db import batches, catalogue, requests
from db.engine import Database
from db.tables import inputs
from db.tables import requests as request_rows
from tests.support.servers import on_postgresql
from workers import intake

ODD_TEXTS = [
    "tab\there",
    "line\nfeed\r",
    "back\\slash \\n \\. \\N",
    '"quoted"',
    "é ☃ 𝄞",
    "\\.",
    "\\N",
    " ",
    "\x01\x7f",
]


def take_in(database: Database, names: list[str]) -> list[LineError]:
    """Take in a line for each name, which is also its question; the complaints."""
    bad: list[LineError] = []
    data = b"".join(line_of(name) for name in names)
    with database.write() as tx:
        batch = batches.create(tx, BatchOptions())
    lines: Iterator[RequestLine | LineError] = read_lines(io.BufferedReader(io.BytesIO(data)))
    intake.take_in(database, batch, lines, BatchOptions(), on_bad_line=bad.append)
    return bad


def line_of(name: str, model: str = "m") -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": name}]}
    line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return orjson.dumps(line) + b"\n"


def test_odd_texts_are_stored_as_they_are(database: Database) -> None:
    """Whatever means something to a database's own way of loading rows means nothing in a request."""
    take_in(database, ODD_TEXTS)
    with database.read() as tx:
        stored = tx.rows(select(inputs).order_by(inputs.c.line))
        states = tx.rows(select(request_rows.c.state, request_rows.c.attempts, request_rows.c.cache_key))
    assert [row.custom_id for row in stored] == ODD_TEXTS
    assert [orjson.loads(row.body)["messages"][0]["content"] for row in stored] == ODD_TEXTS
    assert {(row.state, row.attempts) for row in states} == {("pending", 0)}
    assert len({row.cache_key for row in states}) == len(ODD_TEXTS)


@pytest.mark.parametrize("told_apart", [0, 3, 7, 1_000_000])
def test_repeated_names_are_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, told_apart: int
) -> None:
    """Whether all names are told apart in memory, some or none: each repetition is told with who had it first."""
    monkeypatch.setattr(intake, "MOST_NAMES", told_apart)
    assert take_in(database, ["a", "b", "c", "d", "e", "f"]) == []
    bad: list[LineError] = []
    lines = [*read_lines(io.BufferedReader(io.BytesIO(b"".join(map(line_of, "abcdefb")))))]
    with database.write() as tx:
        batch = batches.create(tx, BatchOptions())
    with pytest.raises(InvalidLinesError, match="1 line is"):
        intake.take_in(database, batch, lines, BatchOptions(), on_bad_line=bad.append)
    assert [(error.line, error.code) for error in bad] == [(7, "duplicate_custom_id")]
    assert "already used by line 2" in bad[0].message
    with database.read() as tx:
        assert len(tx.rows(select(inputs.c.line))) == 6


def test_two_names_of_one_hash_are_two_names(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only looks repeated in memory is accepted: the database has the last word."""
    monkeypatch.setattr(intake, "hash", len, raising=False)
    assert take_in(database, ["aa", "ab", "ba"]) == []


def test_stopped_while_lines_come_in(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to stop stops at the next line, with what was stored gone again."""
    monkeypatch.setattr(intake, "CHUNK", 2)
    read: list[bytes] = []

    def stop() -> None:
        if len(read) == 5:
            raise StoppedError("stopped")

    def lines() -> Iterator[RequestLine | LineError]:
        for name in "abcdefgh":
            read.append(line_of(name))
            yield from read_lines(io.BufferedReader(io.BytesIO(read[-1])))

    with database.write() as tx:
        batch = batches.create(tx, BatchOptions())
    with pytest.raises(StoppedError):
        intake.take_in(database, batch, lines(), BatchOptions(), on_bad_line=pytest.fail, check=stop)
    assert len(read) == 5
    with database.read() as tx:
        assert tx.rows(select(inputs.c.line)) == []
        assert batches.rows(tx, [batch.id])[batch.id].state == BatchState.FAILED


ROW = {"request_id": 1, "batch_id": 1, "line": 1, "custom_id": "a", "model": "m", "body": "{}"}
ROW |= {"cache_key": None, "request_type": "", "provider": "openai", "routing": "", "is_auto": False}


@on_postgresql
def test_a_server_that_leaves_during_the_load(database: Database) -> None:
    """A connection that ends while rows go in is told as every other loss of the database is."""

    def load() -> None:
        with database.write() as tx:
            pid = tx.rows(text("SELECT pg_backend_pid()"))[0][0]
            with database.write() as other:
                other.rows(text(f"SELECT pg_terminate_backend({pid}, 5000)"))
            requests.add(tx, [ROW])

    with pytest.raises(DatabaseError):
        load()
    with database.read() as tx:
        assert tx.rows(select(inputs.c.line)) == []


@on_postgresql
def test_a_server_that_refuses_the_load(database: Database) -> None:
    """So is what a server that is still there cannot do: a full disk, or as here a lock that is not to be had."""

    def load() -> None:
        with database.write() as other, database.write() as tx:
            other.run(text("LOCK TABLE inputs"))
            tx.run(text("SET LOCAL lock_timeout = 50"))
            requests.add(tx, [ROW])

    with pytest.raises(DatabaseError):
        load()


@pytest.mark.parametrize(
    ("models", "meant_for"),
    [
        (["gpt-6"], "https://api.openai.com/v1"),
        (["gpt-6", "local/llama"], "local=http://h/v1 https://api.openai.com/v1"),
        (["auto"], "gemini=https://g https://api.openai.com/v1"),
        (["auto", "local/llama"], "gemini=https://g local=http://h/v1 https://api.openai.com/v1"),
    ],
)
def test_a_batch_is_meant_for_all_whom_its_lines_may_go_to(
    database: Database, models: list[str], meant_for: str
) -> None:
    """Those they name; and for any model whoever can be called, as the choice is made among them."""
    addresses = {"openai": "https://api.openai.com/v1", "local": "http://h/v1", "gemini": "https://g"}
    upstreams = Upstreams(addresses=addresses, usable=frozenset({"openai", "gemini"}))
    with database.write() as tx:
        catalogue.add(tx, ModelEntry(provider="gemini", model="flash", tier=Tier.CHEAP))
        batch = batches.create(tx, BatchOptions())
    data = b"".join(line_of(str(nth), model) for nth, model in enumerate(models))
    lines = Addressing().read(read_lines(io.BufferedReader(io.BytesIO(data))))
    intake.take_in(database, batch, lines, BatchOptions(), on_bad_line=lambda bad: None, upstreams=upstreams)
    with database.read() as tx:
        assert batches.rows(tx, [batch.id])[batch.id].upstream == meant_for
        stored = tx.rows(select(request_rows.c.is_auto).order_by(request_rows.c.id))
    assert [row.is_auto for row in stored] == [model == "auto" for model in models]

"""Undertaking: which interrupted batch a run goes on with, and which is another's."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchmill.errors import ConflictError
from batchmill.requests.model import BatchOptions, Endpoint
from batchmill.requests.source import SpooledInput
from batchmill.routing.names import Target
from batchmill.routing.upstreams import Upstreams
from batchmill.routing.wants import Wants, dump_wants
from db import batches
from db.engine import Database
from tests.unit.test_input_files import SHAPE, TABLE
from workers.undertaking import Wanted, find_or_create

ADDRESSES = {"openai": "https://api.openai.com/v1", "local": "http://127.0.0.1:8000/v1"}
OPENAI = Upstreams(addresses=ADDRESSES, usable=frozenset({"openai"}))
FALLBACK = dump_wants(Wants(fallback=(Target(provider="local", model="llama"),)))


@pytest.fixture
def wanted(tmp_path: Path) -> Iterator[Wanted]:
    """A run of a small table, asked of OpenAI."""
    source = SpooledInput(io.BytesIO(TABLE), tmp_path, SHAPE)
    yield Wanted(
        source=source,
        output=tmp_path / "out.jsonl",
        errors=tmp_path / "errors.jsonl",
        options=BatchOptions(),
        upstreams=OPENAI,
        processes=1,
        concurrency=1,
    )
    source.release()


def begun(database: Database, wanted: Wanted) -> int:
    """The batch of a run that was interrupted once it had begun."""
    row, goes_on = find_or_create(database, wanted, wanted.key())
    assert not goes_on
    with database.write() as tx:
        upstream = wanted.upstreams.of_all(["openai"])
        batches.start(tx, row.id, endpoint=Endpoint.CHAT, total=2, upstream=upstream)
    return int(row.id)


@pytest.mark.parametrize(
    "changed",
    [
        lambda wanted: wanted,
        lambda wanted: replace(wanted, concurrency=50, processes=2),
        lambda wanted: replace(wanted, upstreams=replace(OPENAI, usable=frozenset({"openai", "local"}))),
    ],
)
def test_the_same_run_goes_on(
    database: Database, wanted: Wanted, changed: Callable[[Wanted], Wanted]
) -> None:
    """Also faster, and with a key more than before."""
    batch = begun(database, wanted)
    again = changed(wanted)
    row, goes_on = find_or_create(database, again, again.key())
    assert (row.id, goes_on) == (batch, True)


@pytest.mark.parametrize(
    "changed",
    [
        lambda wanted: replace(wanted, options=replace(wanted.options, routing=FALLBACK)),
        lambda wanted: replace(wanted, upstreams=replace(OPENAI, usable=frozenset({"local"}))),
        lambda wanted: replace(wanted, upstreams=replace(OPENAI, addresses={"openai": "http://other/v1"})),
    ],
)
def test_another_run_does_not_take_its_output(
    database: Database, wanted: Wanted, changed: Callable[[Wanted], Wanted]
) -> None:
    """It wants other fallbacks, has no key for its lines, or calls another server under the same name."""
    begun(database, wanted)
    other = changed(wanted)
    with pytest.raises(ConflictError, match="an unfinished batch"):
        find_or_create(database, other, other.key())

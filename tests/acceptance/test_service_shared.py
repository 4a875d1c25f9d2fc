"""The service grown up: two of it on a shared database, their files in a store that speaks S3, a worker elsewhere."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.http_client import HttpClient, names, start_service
from tests.support.mill import Mill, chat_line, sandbox, wait_until
from tests.support.servers import PostgresCluster
from tests.support.stores import Bucket, bucket, server


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Two services of one installation, on homes of their own as on two machines.

    Attributes:
        one, other: A client of each.
    """

    mills: tuple[Mill, Mill]
    bucket: Bucket
    one: HttpClient
    other: HttpClient


@pytest.fixture
def shared(tmp_path: Path, make_mill: object, postgres: PostgresCluster, valkey_url: str) -> Iterator[Shared]:
    """Both of them, with a key."""
    assert callable(make_mill)
    url = postgres.create()
    with sandbox(tmp_path) as provider, server() as s3:
        there = bucket(s3)
        environ = dict(there.environ) | {
            "DATABASE_URL": url,
            "BROKER_URL": valkey_url,
            "OPENAI_BASE_URL": provider.url,
            "BATCHMILL_FILES_URL": there.url,
            "BATCHMILL_KEYS_SECRET": "k" * 32,
        }
        mills = (make_mill(tmp_path / "one"), make_mill(tmp_path / "other"))
        for mill in mills:
            mill.folder.mkdir()
            mill.environ |= environ
        token = json.loads(mills[0]("keys", "create", "--json").stdout)["key"]
        one, other = (replace(start_service(mill, command="serve"), token=token) for mill in mills)
        yield Shared(mills=mills, bucket=there, one=one, other=other)
        for mill in mills:
            mill.kill_everything()
    postgres.drop(url)


def test_two_of_it(shared: Shared) -> None:
    """A file that one takes in becomes a batch at the other; either hands it out, and one may die meanwhile."""
    data = "".join(chat_line(f"a-{nth}", f"{nth}?") + "\n" for nth in range(300)).encode()
    data += chat_line("long", "x" * 9_000_000).encode()  # more than is sent, or fetched, at a time
    file = shared.one.upload(data)
    assert shared.other.content(file["id"]) == data
    batch = shared.other.create(file["id"])["id"]
    wait_until(lambda: shared.one.batch(batch)["status"] == "in_progress", 60)
    worker = shared.mills[1].start("worker")
    beat = shared.mills[1].start("worker", "--maintenance")
    shared.mills[0].started[-1].kill()
    shown = shared.other.ended(batch)
    assert shown["status"] == "completed", shown
    lines = shared.other.lines(shown["output_file_id"])
    assert names(lines) == [f"a-{nth}" for nth in range(300)] + ["long"]
    assert shared.bucket.keys() == sorted([file["id"], shown["output_file_id"]])
    assert shared.bucket.open_uploads() == []
    for process in (worker, beat):
        process.terminate()
        process.communicate(timeout=60)


def test_a_file_that_is_bad(shared: Shared) -> None:
    """What is wrong with a file in a store is told as of any, with the line."""
    file = shared.one.upload(chat_line("a", "?").encode() + b"\nnonsense\n")
    shown = shared.one.ended(shared.other.create(file["id"])["id"])
    assert shown["status"] == "failed"
    assert [(fault["line"], fault["code"]) for fault in shown["errors"]["data"]] == [(2, "invalid_json_line")]

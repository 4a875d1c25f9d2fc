"""Quotes of uploaded files over HTTP: those of the command line, and what they refuse."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mill import Mill
from tests.support.sites import BOUNDARY, LINE, Answer, Site, served, wanted
from workers.serving import quoting

QUOTE = "/v1/batches/quote"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A service of this machine, which asks for no key."""
    with served(tmp_path, wants_keys=False) as site:
        yield site


def uploaded(site: Site, content: str) -> str:
    """The name of a file with that in it."""
    parts = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        f"{content}\r\n--{BOUNDARY}--\r\n"
    )
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return str(json.loads(site.ask("POST", "/v1/files", None, parts.encode(), kind).body)["id"])


def quoted(site: Site, file: str) -> Answer:
    """What the service answers to whoever would have a batch of that file."""
    return site.ask("POST", QUOTE, None, wanted(file))


def test_it_is_the_command_line_s(site: Site, mill: Mill, tmp_path: Path) -> None:
    """The document is what `batchmill quote --json` prints of the same lines, and no batch comes of it."""
    content = "".join(json.dumps(LINE | {"custom_id": name}) + "\n" for name in "abc")
    (tmp_path / "in.jsonl").write_text(content)
    answer = quoted(site, uploaded(site, content))
    assert answer.status == 200, answer
    printed = mill("quote", tmp_path / "in.jsonl", "--json")
    assert printed.returncode == 0, printed.stderr
    assert json.loads(answer.body) == json.loads(printed.stdout)
    assert json.loads(site.ask("GET", "/v1/batches").body)["data"] == []


def test_bad_lines_are_told(site: Site) -> None:
    """A file whose lines are not valid is refused with which and why."""
    answer = quoted(site, uploaded(site, json.dumps(LINE | {"url": "/v1/embeddings"})))
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert "line 1: invalid_url" in answer.error["message"]
    assert "Traceback" not in answer.body


def test_a_file_that_is_not_there(site: Site) -> None:
    """It is told as for any file."""
    answer = quoted(site, "file-nope")
    assert (answer.status, answer.error["message"]) == (404, "No such File object: file-nope")


def test_no_more_than_so_many_at_a_time(site: Site) -> None:
    """While as many are being made as may be, a further one is told to come back."""
    file = uploaded(site, json.dumps(LINE))
    for _ in range(quoting.MOST_AT_A_TIME):
        assert quoting._turns.acquire(blocking=False)
    try:
        answer = quoted(site, file)
    finally:
        for _ in range(quoting.MOST_AT_A_TIME):
            quoting._turns.release()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert quoted(site, file).status == 200

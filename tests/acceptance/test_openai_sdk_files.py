"""OpenAI's client for Python and our files: in, listed, out, gone."""

import time
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, NotFoundError

from tests.support.mill import chat_line
from tests.support.openai_service import Hosted

CONTENT = (chat_line("r1", "one") + "\n" + chat_line("r2", "two") + "\n").encode()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (lambda path: path, "in.jsonl"),
        (lambda path: path.read_bytes(), "upload"),
        (lambda path: ("ours.jsonl", path.read_bytes()), "ours.jsonl"),
        (lambda path: ("named.jsonl", path.read_bytes(), "application/octet-stream"), "named.jsonl"),
    ],
    ids=["path", "bytes", "tuple", "tuple with a type"],
)
def test_every_way_to_give_a_file(service: Hosted, tmp_path: Path, given: Any, name: str) -> None:
    """A path, bytes and tuples are taken; the file is whole, ready, and known by the name that the client gives it."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(CONTENT)
    file = service.client.files.create(file=given(path), purpose="batch")
    assert (file.bytes, file.filename, file.purpose, file.object) == (len(CONTENT), name, "batch", "file")
    assert abs(file.created_at - time.time()) < 60
    assert file.expires_at is None
    assert service.client.files.wait_for_processing(file.id) == file
    assert service.client.files.retrieve(file.id).status == "processed"
    assert service.client.files.content(file.id).content == CONTENT


def test_a_file_that_expires(service: Hosted) -> None:
    """It is told when; from then on it is gone for everyone."""
    file = service.client.files.create(
        file=("in.jsonl", CONTENT), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    service.mill.execute(f"UPDATE files SET expires_ms = 1 WHERE public_id = '{file.id}'")
    assert file.id not in {listed.id for listed in service.client.files.list()}
    with pytest.raises(NotFoundError, match="No such File object"):
        service.client.files.content(file.id)


def test_pages_of_files(service: Hosted) -> None:
    """Over several pages every file comes once, newest first or oldest first, those of the purpose asked for alone."""
    made = [
        service.client.files.create(file=(f"{n}.jsonl", CONTENT), purpose=purpose).id
        for n, purpose in enumerate(["batch", "user_data", "batch", "user_data", "user_data"])
    ]
    newest = [file.id for file in service.client.files.list(limit=2)]
    assert newest[:5] == made[::-1]
    assert len(newest) == len(set(newest))
    assert [file.id for file in service.client.files.list(limit=2, order="asc")] == newest[::-1]
    ours = [file.id for file in service.client.files.list(limit=1, purpose="user_data")]
    assert ours == [made[4], made[3], made[1]]
    page = service.client.files.list(limit=2)
    assert page.has_more
    assert [file.id for file in page.data] == made[:-3:-1]
    assert not service.client.files.list(after=newest[-1]).data


def test_content_whole_streamed_and_in_part(service: Hosted, tmp_path: Path) -> None:
    """However it is read, it is the same bytes; of a range exactly those asked for, as HTTP has it."""
    content = b"".join(chat_line(f"r{n}", "x" * 1000).encode() + b"\n" for n in range(2000))
    file = service.client.files.create(file=("large.jsonl", content), purpose="batch")
    with service.client.files.with_streaming_response.content(file.id) as response:
        assert response.headers["content-length"] == str(len(content))
        assert b"".join(response.iter_bytes(10_000)) == content
    with service.client.files.with_streaming_response.content(file.id) as response:
        response.stream_to_file(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == content
    for wanted, part in (
        ("bytes=0-9", content[:10]),
        ("bytes=100-", content[100:]),
        ("bytes=-7", content[-7:]),
    ):
        answer = service.client.files.with_raw_response.content(file.id, extra_headers={"Range": wanted})
        assert answer.status_code == 206
        assert answer.headers["content-range"].endswith(f"/{len(content)}")
        assert answer.content == part


def test_a_deleted_file_is_gone(service: Hosted) -> None:
    """Deleting says so; after that it is neither found, listed, read nor deleted again."""
    file = service.client.files.create(file=("in.jsonl", CONTENT), purpose="batch")
    deleted = service.client.files.delete(file.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
    assert file.id not in {listed.id for listed in service.client.files.list()}
    for ask in (service.client.files.retrieve, service.client.files.content, service.client.files.delete):
        with pytest.raises(NotFoundError, match="No such File object"):
            ask(file.id)


def test_an_upload_sent_twice_is_one_file(service: Hosted) -> None:
    """With the same Idempotency-Key the first file is told again; another file under it is refused."""
    key = {"Idempotency-Key": f"upload-{time.monotonic_ns()}"}
    create = service.client.files.create
    first = create(file=("in.jsonl", CONTENT), purpose="batch", extra_headers=key)
    assert create(file=("in.jsonl", CONTENT), purpose="batch", extra_headers=key) == first
    with pytest.raises(APIStatusError, match="Idempotency-Key"):
        create(file=("in.jsonl", CONTENT + b"\n"), purpose="batch", extra_headers=key)

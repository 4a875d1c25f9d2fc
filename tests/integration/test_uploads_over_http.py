"""Uploads over HTTP: every form that clients send, and every mistake, which leaves nothing behind."""

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from batchmill.settings import Settings, load_settings
from tests.support.http_client import BOUNDARY
from tests.support.http_service import Served, served
from tests.support.mill import chat_line, wait_until

LINE = chat_line("a", "?").encode() + b"\n"
PART = f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
Answer = tuple[int, dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    """A home of its own, which takes files of up to 2 MB, 5 MB in all."""
    environ = {
        "BATCHMILL_HOME": str(tmp_path / "home"),
        "BATCHMILL_MAX_FILE_MB": "2",
        "BATCHMILL_FILES_QUOTA_MB": "5",
    }
    return load_settings(environ, None)


@pytest.fixture
def service(settings: Settings) -> Iterator[Served]:
    """A service that answers."""
    with served(settings) as running:
        yield running


def field(name: str, value: str) -> bytes:
    return f'{PART}name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(data: bytes = LINE, filename: str = 'filename="in.jsonl"', name: str = "file") -> bytes:
    return f'{PART}name="{name}"; {filename}\r\n\r\n'.encode() + data + b"\r\n"


BATCH = field("purpose", "batch")


def post(
    service: Served, token: str, *parts: bytes, headers: Mapping[str, str] = {}, body: bytes | None = None
) -> Answer:
    data = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode() if body is None else body
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/v1/files",
        data=data,
        headers={
            "authorization": f"Bearer {token}",
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        }
        | dict(headers),
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def nothing_is_left(service: Served) -> bool:
    folder = Path(service.service.store.url)
    head, body = service.ask("/v1/files", service.token("a"))
    return head.status == 200 and json.loads(body)["data"] == [] and not any(folder.glob("*"))


@pytest.mark.parametrize(
    "parts",
    [
        [BATCH, file()],
        [file(), BATCH],
        [
            field("expires_after[seconds]", "3600"),
            file(),
            field("expires_after[anchor]", "created_at"),
            BATCH,
        ],
    ],
)
def test_fields_in_any_order(service: Served, parts: list[bytes]) -> None:
    """Whether what a file is for comes before it or after it."""
    status, told = post(service, service.token("a"), *parts)
    assert (status, told["purpose"], told["bytes"], told["status"]) == (200, "batch", len(LINE), "processed")
    if len(parts) == 4:
        assert told["expires_at"] - told["created_at"] == 3600


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ('filename="/etc/passwd"', "passwd"),
        ('filename="..\\\\..\\\\in.jsonl"', "in.jsonl"),
        ('filename="a/"', "upload"),
        ('filename=""', "upload"),
        ('filename="a\0b.jsonl"', "ab.jsonl"),
        ('filename="☃.jsonl"', "☃.jsonl"),
        ("filename*=UTF-8''%E2%98%83.jsonl", "☃.jsonl"),
        ("filename*=UTF-8''..%2F..%2Fx%00.jsonl", "x.jsonl"),
        (f'filename="{"x" * 2_000}"', "x" * 512),
    ],
)
def test_names_are_only_names(service: Served, filename: str, shown: str) -> None:
    """Whatever a file is called: no folder, nothing that a database does not take, and never where it is kept."""
    status, told = post(service, service.token("a"), BATCH, file(filename=filename))
    if status == 400 and "\0" in filename:
        return  # the form itself may be refused for that
    assert (status, told["filename"]) == (200, shown)
    assert [path.name for path in Path(service.service.store.url).iterdir()] == [told["id"]]


SEC, ANCHOR = "expires_after[seconds]", "expires_after[anchor]"
WRONG: dict[str, tuple[list[bytes], int, str | None]] = {
    "no file": ([BATCH], 400, "file"),
    "nothing": ([], 400, "file"),
    "no purpose": ([file()], 400, "purpose"),
    "no such purpose": ([field("purpose", "world domination"), file()], 400, "purpose"),
    "not to be uploaded": ([field("purpose", "batch_output"), file()], 400, "purpose"),
    "purpose after the file": ([file(), field("purpose", "x")], 400, "purpose"),
    "two files": ([BATCH, file(), file()], 400, "file"),
    "another field": ([BATCH, field("user", "x"), file()], 400, "user"),
    "another file": ([BATCH, file(name="image")], 400, "image"),
    "too soon": (
        [BATCH, field(ANCHOR, "created_at"), field(SEC, "3599"), file()],
        400,
        "expires_after.seconds",
    ),
    "too late": (
        [BATCH, field(ANCHOR, "created_at"), field(SEC, "2592001"), file()],
        400,
        "expires_after.seconds",
    ),
    "no number": (
        [BATCH, field(ANCHOR, "created_at"), field(SEC, "²"), file()],
        400,
        "expires_after.seconds",
    ),
    "no seconds": ([BATCH, field(ANCHOR, "created_at"), file()], 400, "expires_after.seconds"),
    "no anchor": ([BATCH, field(SEC, "3600"), file()], 400, "expires_after.anchor"),
    "other anchor": ([BATCH, field(ANCHOR, "now"), field(SEC, "3600"), file()], 400, "expires_after.anchor"),
    "empty": ([BATCH, file(b"")], 400, "file"),
    "blank": ([BATCH, file(b"\n\n")], 400, "file"),
    "no lines": ([BATCH, file(b"hello\n")], 400, "file"),
    "an array": ([BATCH, file(b"[" + LINE.strip() + b"]")], 400, "file"),
    "not by its name": ([BATCH, file(filename='filename="a.csv"')], 400, "file"),
    "too large": ([BATCH, file(LINE * 15_000)], 413, None),
    "too large, told at the end": ([file(LINE * 15_000), BATCH], 413, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(service: Served, name: str) -> None:
    """Each is told with what it is about, in OpenAI's shape; nothing of the file stays."""
    parts, status, param = WRONG[name]
    answered, told = post(service, service.token("a"), *parts)
    assert (answered, told["type"], told["param"]) == (status, "invalid_request_error", param), told
    assert told["message"]
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"nonsense", {}),
        (b"{}", {"content-type": "application/json"}),
        (BATCH + file(), {}),
        (BATCH + file(LINE * 2_000)[:-100], {}),
        (BATCH + file() + f"--{BOUNDARY}--\r\n".encode(), {"content-type": "multipart/form-data"}),
        (BATCH, {"content-type": f"multipart/form-data; boundary={'b' * 5_000}"}),
    ],
)
def test_no_form(service: Served, body: bytes, headers: dict[str, str]) -> None:
    """A body that is no form, or breaks off, is refused, and nothing of it stays."""
    answered, told = post(service, service.token("a"), headers=headers, body=body)
    assert (answered, told["code"]) == (400, "invalid_multipart")
    assert nothing_is_left(service)


def test_much_too_large(service: Served) -> None:
    """Whoever sends all of it before he looks at the answer gets that, too, and nobody keeps what came."""
    answered, told = post(service, service.token("a"), BATCH, file(LINE * 300_000))
    assert (answered, told["code"]) == (413, "file_too_large")
    assert nothing_is_left(service)


def test_empty_file_of_another_purpose(service: Served) -> None:
    """Nothing is a file too, where no requests are expected in it."""
    token = service.token("a")
    status, told = post(service, token, field("purpose", "user_data"), file(b""))
    assert (status, told["bytes"]) == (200, 0)
    head, body = service.ask(f"/v1/files/{told['id']}/content", token)
    assert (head.status, body, head.headers["content-length"]) == (200, b"", "0")
    head, _ = service.ask(f"/v1/files/{told['id']}/content", token, headers={"range": "bytes=0-"})
    assert head.status == 416


def test_quota(service: Served) -> None:
    """A tenant that has no room left is told so; another's files come in."""
    token = service.token("a")
    for _ in range(2):
        assert post(service, token, field("purpose", "user_data"), file(b"x" * 1_999_000))[0] == 200
    status, told = post(service, token, field("purpose", "user_data"), file(b"x" * 1_900_000))
    assert (status, told["code"]) == (413, "storage_quota_exceeded")
    assert post(service, service.token("b"), field("purpose", "user_data"), file(b"x"))[0] == 200
    assert len(list(Path(service.service.store.url).iterdir())) == 3


def test_sent_twice(service: Served) -> None:
    """Under one Idempotency-Key the same file is taken once; another under it is refused, and not to be tried again."""
    token, key = service.token("a"), {"idempotency-key": "k"}
    first = post(service, token, BATCH, file(), headers=key)
    assert post(service, token, BATCH, file(), headers=key) == first
    status, told = post(service, token, BATCH, file(LINE + LINE), headers=key)
    assert (status, told["code"]) == (409, "idempotency_key_in_use")
    assert len(list(Path(service.service.store.url).iterdir())) == 1
    assert post(service, service.token("b"), BATCH, file(), headers=key)[1]["id"] != first[1]["id"]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=90-", 90, 99),
        ("bytes=-10", 90, 99),
        ("bytes=0-500", 0, 99),
    ],
)
def test_parts_of_a_file(service: Served, wanted: str, first: int, last: int) -> None:
    """A range is answered with just that."""
    token, data = service.token("a"), bytes(range(100))
    name = post(service, token, field("purpose", "user_data"), file(data))[1]["id"]
    head, body = service.ask(f"/v1/files/{name}/content", token, headers={"range": wanted})
    assert (head.status, body) == (206, data[first : last + 1])
    assert head.headers["content-range"] == f"bytes {first}-{last}/100"


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=-0", "bytes=9-5"])
def test_parts_that_are_not_there(service: Served, wanted: str) -> None:
    """One that is not in the file is refused, with how large that is."""
    token = service.token("a")
    name = post(service, token, field("purpose", "user_data"), file(bytes(100)))[1]["id"]
    head, _ = service.ask(f"/v1/files/{name}/content", token, headers={"range": wanted})
    assert (head.status, head.headers["content-range"]) == (416, "bytes */100")


def test_store_away(service: Served) -> None:
    """503 and what it is about; nothing is noted of a file that could not be kept, and reading says the same."""
    token = service.token("a")
    name = post(service, token, BATCH, file())[1]["id"]
    folder = Path(service.service.store.url)
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("in the way")
    status, told = post(service, token, BATCH, file())
    assert (status, told["code"], told["type"]) == (503, "file_store_unavailable", "server_error")
    head, _ = service.ask(f"/v1/files/{name}/content", token)
    assert head.status == 503
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    _, body = service.ask("/v1/files", token)
    assert [told["id"] for told in json.loads(body)["data"]] == [name]


def test_a_store_that_hangs(service: Served) -> None:
    """However many wait for it: whoever needs no file is answered at once."""
    token = service.token("a")
    name = post(service, token, BATCH, file())[1]["id"]
    pipe = Path(service.service.store.url) / name
    pipe.unlink()
    os.mkfifo(pipe)
    waiting = [threading.Thread(target=read_to_end, args=(service, name, token)) for _ in range(60)]
    for thread in waiting:
        thread.start()
    for _ in range(20):
        head, _ = service.ask("/v1/files", token)
        assert head.status == 200
    assert all(thread.is_alive() for thread in waiting)
    while any(thread.is_alive() for thread in waiting):
        with suppress(OSError):  # nobody reads just now
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)


def read_to_end(service: Served, name: str, token: str) -> None:
    """Download; a pipe is no file that can be."""
    with suppress(OSError, HTTPException):
        service.ask(f"/v1/files/{name}/content", token)


def test_whoever_stops_reading_lets_go_of_the_file(service: Served) -> None:
    """A client that leaves in the middle of a download leaves nothing open."""
    token = service.token("a")
    name = post(service, token, field("purpose", "user_data"), file(b"x" * 1_990_000))[1]["id"]
    path = str(Path(service.service.store.url) / name)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            asked = (
                f"GET /v1/files/{name}/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
            )
            connection.sendall(asked.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    wait_until(lambda: path not in opened(), 30)


def opened() -> set[str]:
    """What this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return found

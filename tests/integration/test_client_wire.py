"""The client on a real connection: what it sends, when, and what it makes of a server that breaks off."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from batchmill import (
    AsyncClient,
    AuthenticationError,
    Client,
    EmbeddedServiceError,
    InvalidLinesError,
    ServiceUnreachableError,
)
from tests.support.faces import Face, face_of
from tests.support.listener import DROPPED, Listener, Seen, Told, listening
from tests.support.ports import free_port

BATCH = {"id": "batch_b1", "status": "completed", "input_file_id": "file-1", "output_file_id": "file-2"}
KEY = "bm-not-for-your-eyes"
PATIENCE_S = 30


def service(seen: Seen) -> Told | None:
    """As much of the service as is needed to take a batch in."""
    if seen.path == "/v1/files":
        return Told(body=b'{"id":"file-1"}')
    return Told(body=orjson.dumps(BATCH))


@pytest.fixture
def listener():
    with listening(service) as one:
        yield one


@pytest.fixture(params=["blocking", "asyncio"])
def face(request, listener: Listener):
    with face_of(request.param, listener.url, KEY, max_retries=1) as one:
        yield one


def lines_of(seen: Seen) -> list[dict]:
    """The lines of the file in a form."""
    part = seen.body.split(b"application/jsonl\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
    return [json.loads(line) for line in part.splitlines()]


def test_a_batch_is_handed_in(face: Face, listener: Listener):
    """One upload with its fields before its file, then the batch with what was asked for."""
    batch = face.do(
        lambda client: client.submit(
            ["a", "b"], model="m", priority="high", metadata={"k": "v"}, budget_usd="1.50"
        )
    )
    assert batch.id == "batch_b1"
    upload, creation = listener.seen
    assert [line["custom_id"] for line in lines_of(upload)] == ["1", "2"]
    assert b'name="purpose"\r\n\r\nbatch\r\n' in upload.body
    assert b'name="expires_after[seconds]"\r\n\r\n604800\r\n' in upload.body
    assert upload.headers["transfer-encoding"] == "chunked"
    assert creation.document == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"k": "v"},
        "priority": "high",
        "budget_usd": "1.50",
        "cache": "auto",
    }
    assert {one.headers["authorization"] for one in listener.seen} == {f"Bearer {KEY}"}


def test_requests_leave_as_they_are_made(face: Face, listener: Listener):
    """The first lines of a generator have arrived before the last are made: nothing waits for the whole."""
    arrived = threading.Event()
    listener.on_piece = lambda _: arrived.set()

    def requests():
        for number in range(2_000):
            yield {"custom_id": str(number), "body": {"model": "m", "messages": [], "pad": "x" * 500}}
        assert arrived.wait(PATIENCE_S), "nothing has arrived"
        yield "the last"

    face.do(lambda client: client.submit(requests(), model="m"))
    assert len(lines_of(listener.seen[0])) == 2_001


def test_an_asynchronous_generator(listener: Listener):
    """AsyncClient awaits it; Client says that it cannot."""

    async def requests():
        yield "a"
        yield "b"

    with face_of("asyncio", listener.url) as face:
        face.do(lambda client: client.submit(requests(), model="m"))
    assert [line["custom_id"] for line in lines_of(listener.seen[0])] == ["1", "2"]
    with Client(listener.url) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.submit(requests(), model="m")  # type: ignore[arg-type]


def test_a_lost_answer_makes_no_second_batch(face: Face, listener: Listener):
    """The call is made again under the same name, by which the service knows it."""
    answers = iter([DROPPED, Told(body=orjson.dumps(BATCH))])
    listener.answer = lambda seen: service(seen) if seen.path == "/v1/files" else next(answers)
    face.do(lambda client: client.submit(["a"], model="m"))
    first, second = listener.of("POST", "/v1/batches")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_two_submits_are_two_batches(face: Face, listener: Listener):
    """Unless they are given the same name."""
    for key in (None, None, "mine", "mine"):
        face.do(lambda client, key=key: client.submit(["a"], model="m", idempotency_key=key))
    names = [one.headers["idempotency-key"] for one in listener.of("POST", "/v1/batches")]
    assert len(set(names[:2])) == 2
    assert names[2:] == ["mine", "mine"]
    files = [one.headers["idempotency-key"] for one in listener.of("POST", "/v1/files")]
    assert files[2:] == ["mine-file", "mine-file"]


def test_a_list_is_uploaded_again_and_a_generator_not(face: Face, listener: Listener):
    """Where an upload broke off, what can be read again is; what is used up is told."""
    answers = iter([DROPPED, Told(body=b'{"id":"file-1"}'), DROPPED])
    listener.answer = lambda seen: next(answers) if seen.path == "/v1/files" else service(seen)
    face.do(lambda client: client.submit(["a"], model="m"))
    assert len(listener.of("POST", "/v1/files")) == 2
    with pytest.raises(ServiceUnreachableError):
        face.do(lambda client: client.submit((text for text in "a"), model="m"))


def test_a_bad_request_ends_the_upload(face: Face, listener: Listener):
    """It is told by its number, and no batch is made of what went before."""
    with pytest.raises(InvalidLinesError, match="request 2"):
        face.do(lambda client: client.submit(["fine", {"prompt": {1, 2}}], model="m"))
    assert listener.of("POST", "/v1/batches") == []


def test_what_is_refused_leaves_no_file(face: Face, listener: Listener):
    """A file that no batch came of is deleted at once."""
    refusal = Told(status=400, body=b'{"error":{"message":"No.","code":"invalid_value","param":"cache"}}')
    listener.answer = lambda seen: refusal if seen.path == "/v1/batches" else service(seen)
    with pytest.raises(Exception, match=r"No\. \(HTTP 400"):
        face.do(lambda client: client.submit(["a"], model="m", cache="maybe"))
    assert len(listener.of("DELETE", "/v1/files/file-1")) == 1


def test_results_go_on_where_they_broke_off(face: Face, listener: Listener):
    """A connection that is cut in the middle of a file costs nothing and doubles nothing."""
    content = b"".join(
        orjson.dumps(
            {"id": f"batch_req_b1_{n}", "custom_id": str(n), "response": {"status_code": 200, "body": {}}}
        )
        + b"\n"
        for n in range(1, 101)
    )

    def answer(seen: Seen) -> Told:
        if seen.path != "/v1/files/file-2/content":
            return Told(body=orjson.dumps(BATCH))
        if "range" not in seen.headers:
            return Told(body=content, cut=1_000)
        start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
        return Told(status=206, body=content[start:])

    listener.answer = answer
    batch = face.do(lambda client: client.batch("batch_b1"))
    assert [result.place for result in face.all(lambda _: batch.results())] == list(range(1, 101))


def test_who_stops_early_leaves_nothing_open(listener: Listener):
    """Results that nobody wants any more are not read to their end; a ResourceWarning would fail this test."""
    line = orjson.dumps(
        {"id": "batch_req_b1_1", "custom_id": "1", "response": {"status_code": 200, "body": {}}}
    )
    listener.answer = lambda seen: (
        Told(body=(line + b"\n") * 9) if "content" in seen.path else Told(body=orjson.dumps(BATCH))
    )
    with Client(listener.url) as client:
        for result in client.batch("batch_b1").results():
            assert result.place == 1
            break


def test_interrupted_it_goes_on(listener: Listener, capsys: pytest.CaptureFixture[str]):
    """Ctrl-C ends the waiting, not the batch, and says how to come back to it."""

    def answer(seen: Seen) -> Told:
        os.kill(os.getpid(), signal.SIGINT)
        return Told(body=orjson.dumps(BATCH | {"status": "in_progress"}))

    listener.answer = lambda seen: Told(body=orjson.dumps(BATCH | {"status": "in_progress"}))
    with Client(listener.url) as client:
        batch = client.batch("batch_b1")
        listener.answer = answer
        with pytest.raises(KeyboardInterrupt):
            batch.wait()
    said = capsys.readouterr().err
    assert 'batchmill: batch_b1 goes on; client.batch("batch_b1") finds it again, .cancel() ends it' in said
    assert {one.method for one in listener.seen} == {"GET"}


def test_a_bar_on_a_terminal(listener: Listener):
    """Where somebody watches, a bar shows how far it is, and leaves nothing behind but the cursor."""
    looks = iter(range(4))

    def answer(_: Seen) -> Told:
        look = next(looks)
        counts = {"total": 40, "completed": 10 * look, "failed": 0}
        status = "completed" if look == 3 else "in_progress"
        return Told(body=orjson.dumps(BATCH | {"status": status, "request_counts": counts}))

    listener.answer = answer
    code = f"from batchmill import Client; Client({listener.url!r}).batch('batch_b1').wait(poll_s=0.3)"
    ours, theirs = os.openpty()
    try:
        terminal = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
        subprocess.run(
            [sys.executable, "-c", code], stderr=theirs, env=terminal, check=True, timeout=PATIENCE_S
        )
    finally:
        os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal_end:
        shown = terminal_end.read(1 << 16).decode()
    assert "10 of 40" in shown
    assert "━" in shown
    assert "\x1b[?25h" in shown


def test_nobody_is_there(tmp_path, monkeypatch):
    """The message says so, and what to do."""
    monkeypatch.chdir(tmp_path)
    with (
        Client(f"http://127.0.0.1:{free_port()}", max_retries=0) as client,
        pytest.raises(ServiceUnreachableError, match="no service can be reached") as raised,
    ):
        client.batch("batch_b1")
    assert "BATCHMILL_BASE_URL" in raised.value.hint


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_service_that_is_silent(kind, listener: Listener):
    """It is not waited for longer than was said."""
    done = threading.Event()
    listener.answer = lambda _: Told() if done.wait(PATIENCE_S) else None
    with face_of(kind, listener.url, timeout_s=0.2, max_retries=0) as face:
        with pytest.raises(ServiceUnreachableError, match="timeout_s"):
            face.do(lambda client: client.batch("batch_b1"))
        done.set()


def test_a_wrong_key_is_told_and_not_shown(face: Face, listener: Listener):
    """By an error of its own, with a hint; the key is in no message."""
    listener.answer = lambda _: Told(status=401, body=b'{"error":{"message":"Incorrect API key provided."}}')
    with pytest.raises(AuthenticationError) as raised:
        face.do(lambda client: client.batch("batch_b1"))
    assert "BATCHMILL_API_KEY" in raised.value.hint
    assert KEY not in repr(raised.value) + repr(vars(face.client)["_connecting"])


def test_no_proxy_leads_to_this_machine(face: Face, listener: Listener, monkeypatch):
    """What the environment says of proxies is for the world outside."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert face.do(lambda client: client.batch("batch_b1")).id == "batch_b1"


def test_batches_come_page_by_page(face: Face, listener: Listener):
    """As many pages as are needed, and no more than that."""
    pages = {"": ["b9", "b8"], "b8": ["b7"]}

    def answer(seen: Seen) -> Told:
        after = seen.path.partition("after=")[2]
        data = [{"id": name, "status": "completed"} for name in pages[after]]
        return Told(body=orjson.dumps({"data": data, "has_more": after == ""}))

    listener.answer = answer
    assert [batch.id for batch in face.all(lambda client: client.batches())] == ["b9", "b8", "b7"]
    assert len(listener.seen) == 2
    face.all(lambda client: client.batches(most=2))
    assert len(listener.seen) == 3


def test_ids_are_not_paths(face: Face, listener: Listener):
    """Whatever is given as an id is one: it cannot lead elsewhere."""
    face.do(lambda client: client.batch("../files/file-1"))
    assert listener.seen[0].path == "/v1/batches/..%2Ffiles%2Ffile-1"


def test_a_text_is_asked_once(face: Face, listener: Listener):
    """A lost answer may have been paid for; nobody asks again unasked."""
    listener.answer = lambda _: DROPPED
    with pytest.raises(ServiceUnreachableError) as raised:
        face.do(lambda client: client.generate_text(prompt="Capital of Peru?"))
    assert len(listener.seen) == 1
    assert "paid for" in raised.value.hint


def test_a_text_comes_with_who_gave_it(face: Face, listener: Listener):
    """Text and provider as a pair, what it cost beside."""
    completion = {"model": "m", "choices": [{"message": {"content": "Lima"}}]}
    headers = {"x-batchmill-provider": "openai", "x-batchmill-model": "m", "x-batchmill-cost-usd": "0.1"}
    listener.answer = lambda _: Told(body=orjson.dumps(completion), headers=headers)
    text, provider = face.do(
        lambda client: client.generate_text(
            request_type="qa", prompt="Capital of Peru?", options={"temperature": 0}, user="u1"
        )
    )
    assert (text, provider) == ("Lima", "openai")
    assert listener.seen[0].document == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Capital of Peru?"}],
        "temperature": 0,
        "batchmill": {"request_type": "qa", "user": "u1"},
    }


def test_files_of_every_format(face: Face, listener: Listener, tmp_path: Path):
    """OpenAI's lines pass byte for byte; plain lines and tables become such lines."""
    whole = b'{"custom_id": "a",  "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}\n'
    (tmp_path / "openai.jsonl").write_bytes(whole)
    (tmp_path / "plain.jsonl").write_text('{"id": "p", "prompt": "Hello?"}\n')
    (tmp_path / "table.csv").write_text("id,text\nt,long story\n")
    face.do(lambda client: client.submit(tmp_path / "openai.jsonl"))
    face.do(lambda client: client.submit(str(tmp_path / "plain.jsonl"), model="m"))
    face.do(lambda client: client.submit(tmp_path / "table.csv", model="m", prompt="Summarise {text}"))
    openai, plain, table = listener.of("POST", "/v1/files")
    assert b"\r\n\r\n" + whole + b"\r\n--" in openai.body
    assert lines_of(plain)[0]["body"]["messages"] == [{"role": "user", "content": "Hello?"}]
    assert lines_of(table)[0]["body"]["messages"] == [{"role": "user", "content": "Summarise long story"}]
    endpoints = [one.document["endpoint"] for one in listener.of("POST", "/v1/batches")]
    assert endpoints == ["/v1/embeddings", "/v1/chat/completions", "/v1/chat/completions"]
    assert b'filename="table.jsonl"' in table.body


def test_bad_lines_of_a_file_are_all_told(face: Face, listener: Listener, tmp_path: Path):
    """Each by its number, before anything is made of the good ones."""
    file = tmp_path / "plain.jsonl"
    file.write_text(
        '{"id": 1, "prompt": "Hello?"}\n{"id": 2}\n{"id": 3, "prompt": "Hello?"}\n{"prompt": 4}\n'
    )
    with pytest.raises(InvalidLinesError, match=r"line 2: .*line 4: "):
        face.do(lambda client: client.submit(file, model="m"))
    assert listener.of("POST", "/v1/batches") == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": "m"}, "nothing says which column"),
        ({"prompt": "Summarise {text}"}, "which model"),
        ({"model": "m", "prompt": "Summarise {story}"}, "story"),
        ({"model": "m", "prompt": "Summarise"}, "ask the same"),
    ],
)
def test_what_a_table_lacks_is_told_in_words_of_python(options, why, listener: Listener, tmp_path: Path):
    """No option of the command line is named to who never saw one."""
    (tmp_path / "table.csv").write_text("id,text\nt,long story\n")
    with Client(listener.url) as client, pytest.raises(Exception, match=why) as raised:
        client.submit(tmp_path / "table.csv", **options)
    assert "--" not in raised.value.message + raised.value.hint
    assert listener.seen == []


def test_memory_does_not_grow_with_the_batch(listener: Listener):
    """A hundred megabytes of requests leave through a few."""
    listener.keep_bodies = False
    code = f"""
import resource
from batchmill import Client
client = Client({listener.url!r})
def requests(count):
    return ({{"custom_id": str(n), "body": {{"model": "m", "messages": [], "pad": "x" * 1000}}}} for n in range(count))
client.submit(requests(1000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
client.submit(requests(100_000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 10_000, "kilobytes"


def test_a_home_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is told by its name, and which variable names another."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    with Client(embedded=True) as client, pytest.raises(EmbeddedServiceError, match="home") as raised:
        client.connect()
    assert "BATCHMILL_HOME" in raised.value.hint


def test_many_threads_share_one_client(listener: Listener):
    """Their first calls at the same moment make one set of connections, and each gets its own answer."""
    listener.answer = lambda seen: Told(body=orjson.dumps(BATCH | {"id": seen.path.rpartition("/")[2]}))
    names = [f"batch_{n}" for n in range(40)]
    with Client(listener.url) as client, ThreadPoolExecutor(8) as pool:
        assert [batch.id for batch in pool.map(client.batch, names)] == names


def test_many_tasks_share_one_client(listener: Listener):
    """The same on an event loop."""
    listener.answer = lambda seen: Told(body=orjson.dumps(BATCH | {"id": seen.path.rpartition("/")[2]}))
    names = [f"batch_{n}" for n in range(40)]

    async def ask() -> list[str]:
        async with AsyncClient(listener.url) as client:
            return [batch.id for batch in await asyncio.gather(*map(client.batch, names))]

    assert asyncio.run(ask()) == names


def test_closed_it_connects_anew(face: Face):
    """A client that was closed is no dead one."""
    face.do(lambda client: client.batch("batch_b1"))
    face.do(lambda client: client.close())
    assert face.do(lambda client: client.batch("batch_b1")).id == "batch_b1"


def test_both_faces_have_the_same_methods():
    """What one can do, the other can."""

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    from batchmill import AsyncBatch, Batch

    assert public(Client) == public(AsyncClient)
    assert public(Batch) == public(AsyncBatch)

"""`batchmill.Client` against the real service, with the sandbox for a provider: as a producer uses it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchmill import (
    AsyncClient,
    BatchFailedError,
    Client,
    InvalidRequestError,
    NotEndedError,
    RequestsFailedError,
    StateError,
    UnknownIdError,
    WaitTimeoutError,
)
from tests.support.faces import Face, face_of
from tests.support.mill import Mill, Sandbox, sandbox, wait_until

MODEL = "gpt-4o-mini"
LATENCY_S = 0.2
PATIENCE_S = 60
FINE = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A provider for all of them."""
    with sandbox(tmp_path_factory.mktemp("provider"), "--latency", str(LATENCY_S)) as one:
        yield one


@pytest.fixture(scope="module")
def up(witness: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """`batchmill up`, running."""
    with closing(Mill(folder=tmp_path_factory.mktemp("mill"))) as mill:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        mill.start("up", "--port", "0")
        wait_until((mill.home / "run" / "service.json").exists, PATIENCE_S)
        yield mill


def url_of(mill: Mill) -> str:
    """Where its service is."""
    url: str = json.loads((mill.home / "run" / "service.json").read_text())["url"]
    return url


@pytest.fixture(params=["blocking", "asyncio"])
def face(request: pytest.FixtureRequest, up: Mill) -> Iterator[Face]:
    """Both faces of the client."""
    with face_of(request.param, url_of(up)) as one:
        yield one


@pytest.fixture
def client(up: Mill) -> Iterator[Client]:
    """One that blocks."""
    with Client(url_of(up)) as one:
        yield one


def prompts(name: str, count: int) -> Iterator[str]:
    """Questions that no other test has asked."""
    return (f"{name} {number}: what is it?" for number in range(1, count + 1))


def wait_for(face: Face, batch: Any) -> None:
    """Leave none of its calls to the test that counts next."""
    face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))


def test_a_list_is_answered_in_order(face: Face, witness: Sandbox) -> None:
    """Each request is asked once, and its answer comes in its place, under its name."""
    before = len(witness.calls())
    kind = type(face.client).__name__
    mine = [{"role": "user", "content": f"mine {kind}"}]
    asked = [*prompts(f"list {kind}", 2), {"id": "mine", "messages": mine}]
    batch = face.do(lambda client: client.submit(asked, model=MODEL, job_name="a list", metadata={"k": "v"}))
    ended = face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    assert ended is batch
    assert (batch.status, batch.counts.completed, batch.job_name, batch.metadata) == (
        "completed",
        3,
        "a list",
        {"k": "v"},
    )
    results = face.all(lambda _: batch.results())
    assert [(result.custom_id, result.place, result.ok) for result in results] == [
        ("1", 1, True),
        ("2", 2, True),
        ("mine", 3, True),
    ]
    assert asked[0] in (results[0].text or "")
    assert len(witness.calls()) - before == 3
    assert batch.cost_usd > 0
    batch.raise_for_failures()


def test_a_generator_of_thousands(client: Client) -> None:
    """It is sent as it is made, and comes back in order."""
    batch = client.submit(prompts("generator", 1_000), model=MODEL).wait(progress=False, timeout_s=PATIENCE_S)
    places = [result.place for result in batch.results()]
    assert places == list(range(1, 1_001))


def test_a_table(face: Face, tmp_path: Path) -> None:
    """A CSV file and a template make requests, called by their ids."""
    kind = type(face.client).__name__
    (tmp_path / "reviews.csv").write_text(f"id,text\nr1,good {kind}\nr2,bad {kind}\n")
    batch = face.do(
        lambda client: client.submit(
            tmp_path / "reviews.csv", model=MODEL, prompt="Summarise {text}", request_type="summary"
        )
    )
    face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    results = face.all(lambda _: batch.results())
    assert [result.custom_id for result in results] == ["r1", "r2"]
    assert f"Summarise good {kind}" in (results[0].text or "")


def test_failures_stand_in_their_place(client: Client) -> None:
    """An answer and a refusal come in the order of their requests; each says what became of it."""
    refused = {"custom_id": "bad", "body": FINE | {"n": 0}}
    batch = client.submit(
        [refused, {"custom_id": "good", "body": FINE}, {"custom_id": "worse", "body": refused["body"]}]
    ).wait(progress=False, timeout_s=PATIENCE_S)
    bad, good, worse = batch.results()
    assert [one.ok for one in (bad, good, worse)] == [False, True, False]
    assert (bad.status_code, bad.text) == (400, None)
    assert bad.error is not None
    assert "n" in bad.error.message
    with pytest.raises(RequestsFailedError, match="2 of 3"):
        batch.raise_for_failures()


def test_bad_lines_are_told_with_their_numbers(face: Face) -> None:
    """A batch that is not accepted is an error with every fault, and nothing was asked."""
    lines = [
        {"custom_id": "a", "body": FINE},
        {"custom_id": "a", "body": FINE},
        {"custom_id": "b", "body": {"model": MODEL}},
    ]
    batch = face.do(lambda client: client.submit(lines))
    with pytest.raises(BatchFailedError) as raised:
        face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    assert sorted((fault.line, fault.code) for fault in raised.value.errors) == [
        (2, "duplicate_custom_id"),
        (3, "invalid_request"),
    ]
    with pytest.raises(BatchFailedError):
        face.all(lambda _: batch.results())


def test_an_endpoint_that_is_not_served(client: Client) -> None:
    """The service tells the lines, as it does whatever else is wrong with them."""
    batch = client.submit([{"custom_id": "a", "url": "/v1/images/generations", "body": FINE}])
    with pytest.raises(BatchFailedError) as raised:
        batch.wait(progress=False, timeout_s=PATIENCE_S)
    assert [(fault.line, fault.code) for fault in raised.value.errors] == [(1, "invalid_url")]


def test_paused_resumed_and_cancelled(face: Face) -> None:
    """What was answered stays; the rest is told as cancelled; a batch that has ended by itself is not cancelled."""
    kind = type(face.client).__name__
    batch = face.do(
        lambda client: client.submit(prompts(f"cancel {kind}", 1_000), model=MODEL, priority="low")
    )
    wait_until(lambda: face.do(lambda _: batch.refresh()).counts.completed > 0, PATIENCE_S)
    with pytest.raises(NotEndedError):
        face.all(lambda _: batch.results())
    assert face.do(lambda _: batch.pause()).paused_reason
    assert (batch.status, batch.priority) == ("in_progress", "low")
    with pytest.raises(WaitTimeoutError):
        face.do(lambda _: batch.wait(progress=False, timeout_s=0.3))
    assert face.do(lambda _: batch.resume()).paused_reason is None
    face.do(lambda _: batch.cancel())
    face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    assert batch.status == "cancelled"
    results = face.all(lambda _: batch.results())
    assert [result.place for result in results] == list(range(1, 1_001))
    assert {result.error.code for result in results if result.error} == {"batch_cancelled"}
    assert 0 < sum(result.ok for result in results) < 1_000
    face.do(lambda _: batch.cancel())  # once more does nothing
    done = face.do(lambda client: client.submit(["a quick one"], model=MODEL))
    face.do(lambda _: done.wait(progress=False, timeout_s=PATIENCE_S))
    with pytest.raises(StateError, match="completed"):
        face.do(lambda _: done.cancel())


def test_results_while_it_runs(face: Face) -> None:
    """What there is can be had at once; and each as it comes, once, to the last."""
    kind = type(face.client).__name__
    batch = face.do(lambda client: client.submit(prompts(f"stream {kind}", 500), model=MODEL))
    wait_until(lambda: face.do(lambda _: batch.refresh()).counts.completed > 0, PATIENCE_S)
    so_far = face.all(lambda _: batch.results(partial=True))
    assert all(result.ok for result in so_far)
    streamed = face.all(lambda _: batch.stream())
    assert sorted(result.place for result in streamed) == list(range(1, 501))
    assert {result.place for result in so_far} <= set(range(1, 501))
    assert len({result.place for result in so_far}) == len(so_far)
    face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    assert len(face.all(lambda _: batch.results(partial=True))) == 500


def test_a_batch_of_the_command_line(face: Face, up: Mill, tmp_path: Path) -> None:
    """What `batchmill submit` has handed in on this machine is found, waited for and read as any other."""
    kind = type(face.client).__name__
    lines = [json.dumps({"id": f"r{n}", "prompt": f"{kind} {n}", "model": MODEL}) for n in range(1, 201)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    done = up("submit", tmp_path / "in.jsonl")
    batch = face.do(lambda client: client.batch(done.stdout.strip()))
    face.do(lambda _: batch.wait(progress=False, timeout_s=PATIENCE_S))
    results = face.all(lambda _: batch.results())
    assert [result.custom_id for result in results] == [f"r{n}" for n in range(1, 201)]


def test_the_same_key_makes_one_batch(face: Face) -> None:
    """Submitted again, a batch is the one that is there; other requests under its key are refused."""
    kind = type(face.client).__name__
    first, second = (
        face.do(lambda client: client.submit(["once"], model=MODEL, idempotency_key=f"key-{kind}"))
        for _ in range(2)
    )
    assert first.id == second.id
    wait_for(face, first)
    with pytest.raises(StateError, match="Idempotency-Key"):
        face.do(lambda client: client.submit(["twice"], model=MODEL, idempotency_key=f"key-{kind}"))


def test_batches_are_found_again(face: Face) -> None:
    """By their id, and in the list, newest first."""
    ids = [face.do(lambda client: client.submit(["found"], model=MODEL)).id for _ in range(3)]
    assert face.do(lambda client: client.batch(ids[0])).id == ids[0]
    found = face.all(lambda client: client.batches(most=3))
    assert [batch.id for batch in found] == ids[::-1]
    with pytest.raises(UnknownIdError, match="No batch found"):
        face.do(lambda client: client.batch("batch_nowhere"))
    for batch in found:
        wait_for(face, batch)


def test_one_prompt_now(face: Face, witness: Sandbox) -> None:
    """A text and who gave it; asked once more, it is the cache's and costs nothing."""
    kind = type(face.client).__name__
    before = len(witness.calls())
    answers = [
        face.do(
            lambda client: client.generate_text(
                request_type="trivia",
                prompt=f"now {kind}",
                options={"temperature": 0},
                model=MODEL,
                user="u1",
            )
        )
        for _ in range(2)
    ]
    text, provider = answers[0]
    assert (f"now {kind}" in text, provider) == (True, "openai")
    assert [answer.cached for answer in answers] == [False, True]
    assert answers[0].cost_usd is not None
    assert (answers[0].cost_usd > 0, answers[1].cost_usd, answers[1].text) == (True, 0, text)
    assert answers[0].model == MODEL
    assert len(witness.calls()) - before == 1


def test_a_prompt_that_is_refused(face: Face) -> None:
    """The provider's refusal, as an error; a model that nobody knows is told."""
    with pytest.raises(InvalidRequestError) as raised:
        face.do(lambda client: client.generate_text(prompt="no", model=MODEL, options={"n": 0}))
    assert raised.value.status == 400
    with pytest.raises(InvalidRequestError) as raised:
        face.do(lambda client: client.generate_text(prompt="no", options={"batchmill": {"cache": "maybe"}}))
    assert raised.value.param == "batchmill.cache"


def test_a_quote_leaves_nothing(face: Face, up: Mill) -> None:
    """What it would cost, before anything is asked; the file that was quoted is gone."""
    kept = up.query("SELECT count(*) FROM files")
    quote = face.do(lambda client: client.quote([*prompts("quote", 3), "quote 1: what is it?"], model=MODEL))
    assert (quote.lines, quote.calls, quote.fits) == (4, 3, True)
    assert quote.expected_usd is not None
    assert quote.most_usd is not None
    assert Decimal(0) < quote.expected_usd <= quote.most_usd
    assert up.query("SELECT count(*) FROM files") == kept


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"cache": "maybe"}, "cache"),
        ({"priority": "asap"}, "priority"),
        ({"completion_window": "5m"}, "completion_window"),
        ({"budget_usd": "much"}, "budget_usd"),
        ({"fallback": ["auto"]}, "fallback[0]"),
        ({"metadata": {"k": 1}}, "metadata.k"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(client: Client, options: dict, param: str) -> None:
    """The service judges it; the error says which one."""
    with pytest.raises(InvalidRequestError) as raised:
        client.submit(["a"], model=MODEL, **options)
    assert raised.value.param == param
    assert raised.value.request_id.startswith("req_")


def test_progress_in_lines(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere than on a terminal it is lines on standard error; standard output is the producer's."""
    batch = client.submit(["progress"], model=MODEL).wait(timeout_s=PATIENCE_S)
    told = capsys.readouterr()
    assert told.out == ""
    assert f"batchmill: {batch.id}: 1 of 1 · completed · $0.0" in told.err


def test_the_example_runs(up: Mill, tmp_path: Path) -> None:
    """examples/client.py does what it says."""
    example = Path(__file__).parents[2] / "examples" / "client.py"
    done = subprocess.run(
        [sys.executable, example],
        env=up.environment() | {"BATCHMILL_BASE_URL": url_of(up)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:3]] == ["peru", "chile", "bolivia"]
    assert done.stdout.splitlines()[3].startswith("3 of 3 answered, $0.0000")


# The service of the home.

SCRIPT = f"""
from batchmill import Client
client = Client()
batch = client.submit(["embedded"], model={MODEL!r}).wait(progress=False)
print(client.connect(), batch.status, flush=True)
"""


def embedded(mill: Mill, code: str = SCRIPT, **environ: str) -> "subprocess.Popen[str]":
    """A producer's program in a folder of its own."""
    folder = mill.folder / "producer"
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=mill.environment() | environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it printed and said; it has to have gone well."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.timeout(120)
def test_two_at_once_start_one_service_and_others_attach(mill: Mill, witness: Sandbox) -> None:
    """Whoever comes first starts it and says so; it outlives him, serves who comes later, and `down` ends it.

    What lies beside the producer's program is his own: a `db.py` there is not imported, and his `.env` counts.
    """
    producer = mill.folder / "producer"
    producer.mkdir()
    for name in ("db.py", "tasks.py", "cli.py"):
        (producer / name).write_text("raise SystemExit('not mine')")
    (producer / ".env").write_text(f"OPENAI_BASE_URL={witness.url}\n")
    both = [embedded(mill) for _ in range(2)]
    (first, said_first), (second, said_second) = map(outcome, both)
    assert first == second
    assert first.endswith(" completed\n")
    said = said_first + said_second
    assert said.count("started the embedded service at") == 1
    assert f"(home {mill.home}); stop it with `batchmill down`" in said
    third, said = outcome(embedded(mill))
    assert (third, said) == (first, "")
    assert mill("down").returncode == 0
    fourth, said = outcome(embedded(mill))
    assert fourth.endswith(" completed\n")
    assert "started the embedded service" in said


@pytest.mark.timeout(120)
def test_a_service_that_was_killed_is_started_anew(mill: Mill, witness: Sandbox) -> None:
    """After kill -9 of all of it, what it has left behind misleads nobody; the same program just goes on."""
    mill.environ["OPENAI_BASE_URL"] = witness.url
    code = f"""
import sys
from batchmill import Client, ServiceUnreachableError
client = Client(max_retries=0)
print(client.connect(), flush=True)
sys.stdin.readline()
try:
    client.batch("batch_x")
except ServiceUnreachableError:
    print("gone", client.submit(["again"], model={MODEL!r}).wait(progress=False).status, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=mill.environment(),
        cwd=mill.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        for pid in mill.processes():
            if pid != process.pid:
                os.kill(pid, signal.SIGKILL)
        out, err = process.communicate("\n", timeout=PATIENCE_S)
    assert out == "gone completed\n", err


def test_a_service_that_does_not_start_says_why(mill: Mill) -> None:
    """Its own words, and where the rest of them is."""
    mill.environ["OPENAI_API_KEY"] = ""
    process = embedded(mill)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "EmbeddedServiceError: the embedded service does not start: it ended with status" in said
    assert "OPENAI_API_KEY" in said


def test_no_address_and_no_service_wanted(mill: Mill) -> None:
    """Who wants no service started is told what to set."""
    process = embedded(mill, "from batchmill import Client; Client(embedded=False).connect()")
    _, said = process.communicate(timeout=PATIENCE_S)
    assert "SettingsError: nothing says where the service is" in said


def test_two_event_loops_share_nothing(up: Mill) -> None:
    """A program may make a client in each of its loops."""

    async def ask() -> str:
        async with AsyncClient(url_of(up)) as client:
            batch = await client.submit(["loops"], model=MODEL)
            return (await batch.wait(progress=False, timeout_s=PATIENCE_S)).status

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["completed", "completed"]

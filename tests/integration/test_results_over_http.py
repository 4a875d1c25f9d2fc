"""Results and events of running batches over HTTP, on real sockets."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from api import results as routes
from batchmill.settings import Settings
from db import batches
from tests.support.clocks import PATIENCE_S
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.http_service import Event, Served, Stream, served
from tests.support.mill import wait_until
from tests.support.replies import ANSWERED, REFUSED
from workers.serving import audience
from workers.serving.keys import revoke


@pytest.fixture
def front(settings: Settings) -> Iterator[Served]:
    """A service that answers."""
    with served(settings) as running:
        yield running


@pytest.fixture
def token(front: Served) -> str:
    """A key of the tenant acme."""
    return front.token("acme")


class Batch:
    """A batch of acme's, and whoever answers it."""

    def __init__(self, front: Served, lines: int) -> None:
        self.database = front.service.database
        self.id = add_batch(self.database, lines, tenant="acme")
        self.name = batch_of(self.database, self.id).public_id
        self.worker = Worker(self.database)
        self.jobs: list[Any] = []

    def claim(self) -> None:
        """Begin with all of it."""
        self.jobs = self.worker.take(only_batch=self.id)

    def answer(self, *places: int) -> None:
        """Answer these lines."""
        self.worker.answer(ANSWERED, *(self.jobs[place - 1] for place in places))

    def finish(self) -> None:
        """End it, as if its files were written."""
        with self.database.write() as tx:
            assert batches.finish(tx, self.id)

    @property
    def results(self) -> str:
        """Where its results are."""
        return f"/v1/batches/{self.name}/results"

    @property
    def events(self) -> str:
        """Where its events are."""
        return f"/v1/batches/{self.name}/events"


def names(body: bytes) -> list[str]:
    """What these lines are called."""
    return [orjson.loads(line)["custom_id"] for line in body.splitlines()]


def test_a_page_after_another(front: Served, token: str) -> None:
    """OpenAI's lines, good and bad, with the cursor for the next page in the head."""
    batch = Batch(front, 4)
    batch.claim()
    batch.answer(2)
    batch.worker.answer(REFUSED, batch.jobs[3])
    response, body = front.ask(f"{batch.results}?limit=1", token)
    assert (response.status, response.headers["content-type"]) == (200, "application/x-ndjson")
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-has-more"] == "true"
    [line] = map(orjson.loads, body.splitlines())
    assert (line["custom_id"], line["response"]["status_code"], line["error"]) == ("line-2", 200, None)
    response, body = front.ask(f"{batch.results}?after={response.headers['x-next-after']}", token)
    [line] = map(orjson.loads, body.splitlines())
    assert (line["custom_id"], line["response"]["status_code"]) == ("line-4", REFUSED.status_code)
    batch.answer(1, 3)
    response, body = front.ask(f"{batch.results}?after={response.headers['x-next-after']}", token)
    assert (names(body), response.headers["x-has-more"]) == (["line-1", "line-3"], "false")


def test_as_the_documentation_shows(front: Served, token: str) -> None:
    """The example for readers gives each line once, and ends."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-over-http.md").read_text(encoding="utf-8")
    names_: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names_)
    batch = Batch(front, 250)
    batch.claim()
    batch.answer(*range(2, 251, 2))
    batch.answer(*range(1, 251, 2))
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{front.port}",
        headers={"authorization": f"Bearer {token}"},
        timeout=PATIENCE_S,
    ) as client:
        lines = [orjson.loads(line)["custom_id"] for line in names_["results"](client, batch.name)]
    assert sorted(lines) == sorted(f"line-{nth}" for nth in range(1, 251))


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("after=x", "after", "invalid_value"),
        ("after=AQA", "after", "invalid_value"),
        ("limit=0", "limit", "invalid_value"),
        ("limit=1001", "limit", "invalid_value"),
        ("limit=x", "limit", "invalid_type"),
    ],
)
def test_what_is_misused(front: Served, token: str, query: str, param: str, code: str) -> None:
    """It is named in OpenAI's words."""
    response, body = front.ask(f"{Batch(front, 1).results}?{query}", token)
    error = orjson.loads(body)["error"]
    assert (response.status, error["type"], error["param"], error["code"]) == (
        *(400, "invalid_request_error"),
        *(param, code),
    )


@pytest.mark.parametrize("of", ["results", "events"])
def test_whose_batch_it_is(front: Served, token: str, of: str) -> None:
    """Another tenant finds none of that name, as if there were none; without a key nobody finds anything."""
    path = getattr(Batch(front, 1), of)
    foreign, foreign_body = front.ask(path, front.token("other"))
    unknown, unknown_body = front.ask("/v1/batches/batch_0/" + of, token)
    assert (foreign.status, unknown.status, front.ask(path)[0].status) == (404, 404, 401)
    assert foreign_body.replace(path.split("/")[3].encode(), b"batch_0") == unknown_body


def until(stream: Stream, kind: str) -> Event:
    """The next event of a kind."""
    while (event := stream.next()) is not None:
        if event.kind == kind:
            return event
    raise AssertionError(f"it ended without {kind}")


def test_progress_until_it_has_ended(front: Served, token: str) -> None:
    """The batch at once, then whenever it has changed; the last word is the batch as it ended, then nothing."""
    batch = Batch(front, 3)
    stream = front.events(batch.events, token)
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    first = stream.next()
    assert first is not None
    assert (first.kind, first.data["id"], first.data["request_counts"]["completed"]) == (
        *("progress", batch.name),
        0,
    )
    batch.claim()
    batch.answer(1)
    while until(stream, "progress").data["request_counts"]["completed"] != 1:
        pass
    batch.answer(2, 3)
    batch.finish()
    *told, end = stream.rest()
    assert {event.kind for event in told} <= {"progress"}
    assert (end.kind, end.data["status"], end.data["request_counts"]["completed"]) == ("end", "completed", 3)
    wait_until(lambda: front.service.audience.size == 0, PATIENCE_S)


def test_one_that_has_ended(front: Served, token: str) -> None:
    """It is told so at once."""
    batch = Batch(front, 1)
    batch.claim()
    batch.answer(1)
    batch.finish()
    [end] = front.events(batch.events, token).rest()
    assert (end.kind, end.data["status"]) == ("end", "completed")


def test_results_as_events(front: Served, token: str) -> None:
    """Each line once before the end; whoever was cut off goes on behind the last that he has."""
    batch = Batch(front, 6)
    batch.claim()
    batch.answer(2, 4, 5)
    stream = front.events(f"{batch.events}?results=true", token)
    seen = [until(stream, "result"), until(stream, "result")]
    stream.leave()
    batch.answer(1)
    again = front.events(f"{batch.events}?results=true", token, headers={"Last-Event-ID": seen[-1].id})
    seen += [until(again, "result"), until(again, "result")]
    batch.answer(3, 6)
    batch.finish()
    *told, end = again.rest()
    seen += [event for event in told if event.kind == "result"]
    assert [event.data["custom_id"] for event in seen] == [f"line-{nth}" for nth in (2, 4, 1, 5, 3, 6)]
    assert end.kind == "end"
    [only] = front.events(f"{batch.events}?results=true", token, headers={"Last-Event-ID": end.id}).rest()
    assert only.kind == "end"


def test_a_last_event_that_is_none(front: Served, token: str) -> None:
    """It is refused before anything is told."""
    batch = Batch(front, 1)
    response, body = front.ask(f"{batch.events}?results=true", token, headers={"Last-Event-ID": "x"})
    assert (response.status, orjson.loads(body)["error"]["param"]) == (400, "Last-Event-ID")
    assert front.service.audience.size == 0


def test_whoever_leaves_gives_up_his_seat(front: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done for him any more."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.1)
    batch = Batch(front, 1)
    stream = front.events(batch.events, token)
    assert stream.next() is not None
    assert front.service.audience.size == 1
    stream.leave()
    wait_until(lambda: front.service.audience.size == 0, PATIENCE_S)


def test_a_key_that_is_revoked_meanwhile(front: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its streams end soon after."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.1)
    stream = front.events(Batch(front, 1).events, token)
    kinds = [event.kind for event in (stream.next() for _ in range(5)) if event is not None]
    assert kinds == ["progress", ":", ":", ":", ":"]
    revoke(front.service.database, token.split("-")[1])
    assert {event.kind for event in stream.rest()} <= {":"}


def test_something_is_said_now_and_then(front: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, so that nobody in between takes the connection for dead."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    stream = front.events(Batch(front, 1).events, token)
    assert [event.kind for event in (stream.next(), stream.next(), stream.next()) if event] == [
        *("progress", ":", ":")
    ]
    stream.leave()


def test_more_than_there_are_seats(front: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is told to come back; a seat that was left is there for the next."""
    monkeypatch.setattr(front.service.audience, "_most", 2)
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.1)
    batch = Batch(front, 1)
    streams = [front.events(batch.events, token) for _ in range(2)]
    assert [stream.response.status for stream in streams] == [200, 200]
    response, body = front.ask(batch.events, token)
    assert (response.status, orjson.loads(body)["error"]["code"]) == (503, "overloaded")
    assert response.headers["retry-after"]
    streams[0].leave()
    wait_until(lambda: front.service.audience.size == 1, PATIENCE_S)
    last = front.events(batch.events, token)
    assert last.response.status == 200
    for stream in (streams[1], last):
        stream.leave()


def test_many_who_watch_cost_one_look(front: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tick reads a batch once, however many watch it, and all of them in one go."""
    looks: list[list[int]] = []
    read = batches.rows

    def rows(tx: Any, ids: Any) -> Any:
        looks.append(list(ids))
        return read(tx, ids)

    monkeypatch.setattr(audience.batches, "rows", rows)
    watched = [Batch(front, 1), Batch(front, 1)]
    streams = [front.events(batch.events, token) for batch in watched for _ in range(5)]
    begun, looks[:] = time.monotonic(), []
    wait_until(lambda: len(looks) >= 3, PATIENCE_S)
    seen = list(looks)
    assert len(seen) <= (time.monotonic() - begun) / audience.LOOK_EVERY_S + 1
    assert all(look == sorted(batch.id for batch in watched) for look in seen)
    for batch in watched:
        batch.claim()
        batch.answer(1)
        batch.finish()
    assert all(stream.rest()[-1].kind == "end" for stream in streams)


def test_streams_end_with_the_service(settings: Settings) -> None:
    """It does not wait for batches to end that somebody watches."""
    with served(settings) as front:
        stream = front.events(Batch(front, 1).events, front.token("acme"))
        assert stream.next() is not None
        begun = time.monotonic()
        front.server.should_exit = True
        assert stream.rest() == []
    assert time.monotonic() - begun < settings.workers.grace_s / 2

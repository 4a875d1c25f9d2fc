"""`batchmill flower`: who may see it, what it shows of running and finished work, and that it tells no secret."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import redis

from tests.support.mill import Mill, chat_line, sandbox, wait_until, write_lines
from tests.support.servers import PostgresCluster

LOGIN, PASSWORD = "ada", "flower-pw-1843"
BROKER_PASSWORD = "broker-pw-1815"
PATIENCE_S = 60
PATHS = (
    "/",
    "/workers",
    "/tasks",
    "/broker",
    "/metrics",
    "/api/workers",
    "/api/tasks",
    "/login",
    "/static/css/flower.css",
    "/nope",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A running Flower.

    Attributes:
        said: What it has told so far, and tells at its end.
    """

    url: str
    said: list[str]

    def ask(self, path: str, login: str = "", **options: Any) -> httpx2.Response:
        """Its answer; with that login, `user:password`, if one is given."""
        token = base64.b64encode(login.encode()).decode()
        headers = options.pop("headers", {}) | ({"Authorization": f"Basic {token}"} if login else {})
        return httpx2.request(
            options.pop("method", "GET"), self.url + path, headers=headers, timeout=30, **options
        )

    def seen(self, path: str) -> Any:
        """What its API tells those who may ask."""
        answer = self.ask(path, f"{LOGIN}:{PASSWORD}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tasks(self, name: str, state: str) -> list[dict[str, Any]]:
        """The tasks of that name and state, newest first, once there are any."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.seen(f"/api/tasks?taskname={name}&state={state}").values()
            return bool(found)

        wait_until(look, PATIENCE_S, 0.1)
        return found


@contextmanager
def flower(mill: Mill, *options: str) -> Iterator[Tower]:
    """Flower on a free port; it has to leave when asked to."""
    process = mill.start("flower", "--port", "0", *options)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Flower is at http://"), line
    said = [line]
    try:
        yield Tower(url=line.split()[3].rstrip(";").replace("0.0.0.0", "127.0.0.1"), said=said)
    finally:
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE_S)
        said += [out, err]
    assert process.returncode == 0
    assert "Traceback" not in out + err


@pytest.fixture
def with_login(mill: Mill) -> Mill:
    """An installation whose Flower asks for a login."""
    mill.environ["BATCHMILL_FLOWER_AUTH"] = f"bob:secret,{LOGIN}:{PASSWORD}"
    return mill


@pytest.fixture
def broker_url(valkey_url: str) -> Iterator[str]:
    """The shared Valkey, for a user with a password."""
    with redis.Redis.from_url(valkey_url) as client:
        client.execute_command("ACL", "SETUSER", "mill", "on", f">{BROKER_PASSWORD}", "~*", "&*", "+@all")
        yield valkey_url.replace("://", f"://mill:{BROKER_PASSWORD}@")
        client.execute_command("ACL", "DELUSER", "mill")


def test_a_running_batch_is_seen(with_login: Mill, tmp_path: Path) -> None:
    """Beside `batchmill up`: the task that answers a batch shows lane and batch, at its end how many it answered."""
    mill = with_login
    lines = [chat_line(f"c{n}", f"question {n % 38}") for n in range(40)]
    assert "there is nothing to watch on" in mill.refused("flower")
    with sandbox(tmp_path, "--latency", "0.3-0.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        with mill.up("--concurrency", "8"), flower(mill) as tower:
            wait_until(lambda: bool(tower.seen("/api/workers?refresh=1")), PATIENCE_S, 0.1)
            submitted = mill.quickly(
                "submit", write_lines(tmp_path / "in.jsonl", lines), "--priority", "high"
            )
            batch = submitted.stdout.strip()
            [running, *_] = tower.tasks("batchmill.run_requests", "STARTED")
            assert running["kwargs"] == str({"lane": "high", "batch": batch})
            assert running["worker"].startswith("worker-")
            done = next(
                task
                for task in tower.tasks("batchmill.run_requests", "SUCCESS")
                if task["uuid"] == running["uuid"]
            )
            told = re.fullmatch(r"'claimed (\d+), done 38, found 2(?:, returned (\d+))?'", done["result"])
            assert told is not None, done["result"]
            assert int(told[1]) == 40 + int(told[2] or 0)
            page = tower.ask("/tasks", f"{LOGIN}:{PASSWORD}").text
            assert "result" in page.lower()


def test_who_may_see_it(with_login: Mill, postgres: PostgresCluster, broker_url: str) -> None:
    """Nobody without the login sees anything, `/metrics` neither; with it all is seen and nothing can be changed; and
    no secret is anywhere."""
    mill = with_login
    database_url = postgres.create()
    mill.environ |= {
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "BATCHMILL_BEAT_S": "1",
        "BATCHMILL_AT_SWEEP": "every 1s",
    }
    mill.start("worker", "--maintenance")
    mill.start("beat")
    with flower(mill, "--host", "0.0.0.0") as tower:
        for login in ("", f"{LOGIN}:wrong", f"{LOGIN}:", "bob", "björn:hård", f"bob:{PASSWORD}"):
            statuses = {path: tower.ask(path, login).status_code for path in PATHS}
            assert set(statuses.values()) == {401}, statuses
        assert tower.ask("/", headers={"Authorization": "Basic ?"}).status_code == 401
        assert (tower.ask("/healthcheck").status_code, tower.ask("/healthcheck").text) == (200, "OK")

        login = f"{LOGIN}:{PASSWORD}"
        [done, *_] = tower.tasks("batchmill.run_job", "SUCCESS")
        assert done["kwargs"].startswith("{'job': '")
        [worker] = tower.seen("/api/workers?refresh=1")
        assert worker.startswith("maintenance-")
        assert "flower_events_total" in tower.ask("/metrics", login).text
        pages = [
            tower.ask(path, login)
            for path in (
                "/",
                f"/worker/{worker}",
                "/broker",
                "/tasks",
                f"/api/workers?workername={worker}",
                f"/task/{done['uuid']}",
                "/metrics",
            )
        ]
        assert {page.status_code for page in pages} == {200}
        assert "mill:***@" in pages[2].text
        for method, path in [
            ("POST", f"/api/worker/shutdown/{worker}"),
            ("POST", "/api/task/send-task/batchmill.ring_due"),
        ]:
            assert tower.ask(path, login, method=method).status_code == 403
        told = "".join(page.text for page in pages)
    told += "".join(tower.said)
    assert not [
        secret
        for secret in (BROKER_PASSWORD, PASSWORD, urlsplit(database_url).query)
        if secret and secret in told
    ]
    mill.kill_everything()
    postgres.drop(database_url)


def test_people_known_elsewhere(mill: Mill, valkey_url: str) -> None:
    """With OAuth all pages lead to the login, which leads to the provider and comes back to the address that is set."""
    back = "https://flower.acme.test/login"
    mill.environ |= {
        "BROKER_URL": valkey_url,
        "BATCHMILL_FLOWER_OAUTH": "github",
        "BATCHMILL_FLOWER_OAUTH_KEY": "client-1",
        "BATCHMILL_FLOWER_OAUTH_SECRET": PASSWORD,
        "BATCHMILL_FLOWER_OAUTH_REDIRECT_URI": back,
    }
    assert "BATCHMILL_FLOWER_OAUTH_EMAILS is not" in mill.refused("flower")
    mill.environ["BATCHMILL_FLOWER_OAUTH_EMAILS"] = ".*@acme.test"
    with flower(mill) as tower:
        for path in ("/", "/tasks", "/metrics", "/api/workers"):
            answer = tower.ask(path)
            assert (answer.status_code, answer.headers["location"].split("?")[0]) == (302, "/login"), path
        answer = tower.ask("/login")
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("https://github.com/login/oauth/authorize?")
        assert "client_id=client-1" in answer.headers["location"]
        forged = tower.ask("/login?code=c0de-1&state=forged")
        assert forged.status_code == 403
    assert not [secret for secret in (PASSWORD, "c0de-1") if secret in forged.text + "".join(tower.said)]


def test_on_this_machine_alone(mill: Mill, valkey_url: str) -> None:
    """Without a login it answers this machine, and no web page that a browser here has open."""
    mill.environ["BROKER_URL"] = valkey_url
    with flower(mill) as tower:
        assert tower.ask("/tasks").status_code == 200
        for headers in (
            {"Host": "evil.test"},
            {"Origin": "https://evil.test"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            assert tower.ask("/tasks", headers=headers).status_code == 403
        assert tower.ask("/api/workers").status_code == 401


@pytest.mark.parametrize(
    ("options", "environ", "said"),
    [
        (["--host", "0.0.0.0"], {}, "Flower on 0.0.0.0 would show workers and tasks to anyone"),
        (["--host", "192.0.2.1"], {"BATCHMILL_FLOWER_AUTH": "a:b"}, "Flower cannot listen on 192.0.2.1:5555"),
        ([], {"BATCHMILL_FLOWER_AUTH": "ada"}, "BATCHMILL_FLOWER_AUTH is set (one of them has no user"),
        ([], {"BATCHMILL_FLOWER_AUTH": "ada:hård"}, "that are not ASCII"),
        ([], {"BATCHMILL_FLOWER_AUTH": "a:b", "BATCHMILL_FLOWER_OAUTH": "google"}, "are both set"),
        ([], {"BATCHMILL_FLOWER_OAUTH_EMAILS": "a@b|.*@c"}, "one * is allowed"),
        ([], {"BATCHMILL_FLOWER_OAUTH_EMAILS": "*@c"}, "any name is written .*"),
        ([], {"BATCHMILL_FLOWER_OAUTH": "okta"}, "google or github or gitlab"),
    ],
)
def test_what_is_refused(mill: Mill, options: list[str], environ: dict[str, str], said: str) -> None:
    """What cannot be, or would show it to anyone, is refused with what to set; a secret is not repeated."""
    mill.environ |= {"BROKER_URL": "redis://127.0.0.1:9/0"} | environ
    told = mill.refused("flower", *options)
    assert said in told
    assert "hård" not in told

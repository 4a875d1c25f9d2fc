"""Dashboard and alert rules, against real scrapes of a mill that has seen good and bad."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from api.families import OF_HTTP, OF_THE_MILL
from batchmill.health.course import HealthLevel, Observation
from batchmill.metering.families import FAMILIES
from batchmill.settings.schedules import JobName
from db import health_states, schedules
from db.engine import Database
from tests.support.mill import PATIENCE_S, Mill, chat_line, sandbox, wait_until, write_lines
from tests.support.ports import free_port
from tests.support.promql import Scrape, filled, labels_of, queries_of, scrape_of
from workers.app import MAINTENANCE, make_app
from workers.jobs.duty import RUN_JOB
from workers.meters.readings import BUILD

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "batchmill.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
RUNBOOKS = Path(__file__).parents[2] / "docs" / "how-to" / "metrics.md"
TOKEN = "a token that may read metrics"
_TAG = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL = re.compile(r"\$labels\.(\w+)")


def told(url: str, token: str | None = TOKEN) -> tuple[int, str]:
    """What GET /metrics answers there."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("GET", parts.path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def running_mill(mill: Mill, folder: Path, broker_url: str) -> Iterator[dict[tuple[str, str], str]]:
    """A service, a worker and its maintenance; where each tells its metrics, by job and instance."""
    with sandbox(folder, "--latency", "0.02") as provider:
        mill.environ |= {
            "OPENAI_BASE_URL": provider.url,
            "BROKER_URL": broker_url,
            "BATCHMILL_METRICS_TOKEN": TOKEN,
            "BATCHMILL_CIRCUIT_FAILURES": "3",
            "BATCHMILL_MAX_TRIES": "9",
            "BATCHMILL_CALL_TIMEOUT_S": "2",
            "BATCHMILL_BACKOFF_BASE_S": "0.05",
        }
        for budget in (("global",), ("model", "gpt-4o")):
            options = ("--day", "5", "--allow-unpriced")
            assert mill.quickly("budget", "set", *budget, *options).returncode == 0
        assert (
            mill.quickly("providers", "limit", "openai", "--model", "gpt-4o", "--rpm", "1200").returncode == 0
        )
        ports = {"worker": free_port(), "maintenance": free_port()}
        with mill.up(command="serve") as service:
            for name, port in ports.items():
                mill.start(
                    "worker", "--metrics-port", str(port), *(["--maintenance"] if name != "worker" else [])
                )
            urls = {
                ("batchmill-workers", name): f"http://127.0.0.1:{port}/metrics"
                for name, port in ports.items()
            }
            yield urls | {("batchmill", "api"): f"{service.url}/metrics"}
        mill.kill_everything()


def work(mill: Mill, folder: Path, urls: dict[tuple[str, str], str], broker_url: str) -> None:
    """Good and bad: answers, hits, a limit, failures, an open circuit, runs of jobs."""
    good = [chat_line(f"good-{n}", f"question {n % 20}", model="gpt-4o") for n in range(30)]
    bad = [chat_line(f"bad-{n}", f"question {n}", model="sandbox/500") for n in range(8)]
    assert mill.quickly("submit", write_lines(folder / "bad.jsonl", bad)).returncode == 0
    path = write_lines(folder / "good.jsonl", good)
    for nth in (1, 2):
        assert mill.quickly("submit", path).returncode == 0
        wait_until(lambda: mill.states().get("completed") == nth, PATIENCE_S)  # noqa: B023 - called here
    database = Database(f"sqlite:///{mill.home}/batchmill.db")
    now_ms = database.now_ms()
    for job in (JobName.USAGE_REPORT, JobName.CACHE_CLEANUP):
        with database.write() as tx:
            turn = schedules.take(tx, job, now_ms, "tester", by_hand=True)
            assert turn is not None
            schedules.finish(tx, turn, {"answer_bytes": 1_000})
    with database.write() as tx:
        seen = Observation(component="database", level=HealthLevel.OK, message="fine")
        health_states.record(tx, now_ms, [seen])
    database.close()
    app = make_app(broker_url, as_current=False)
    due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms // 1000 + 3600))  # whenever it is heard of
    app.send_task(RUN_JOB, kwargs={"job": JobName.SWEEP.value, "due": due}, queue=MAINTENANCE)
    app.close()
    key = mill.quickly("keys", "create").stdout.strip()
    service = urlsplit(urls["batchmill", "api"])
    connection = HTTPConnection(service.hostname or "", service.port, timeout=PATIENCE_S)
    body = json.dumps({"model": "sandbox/500", "messages": [{"role": "user", "content": "why?"}]})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    assert connection.getresponse().status >= 500
    connection.close()


def faults(scrape: Scrape) -> Iterator[str]:
    """What is wrong with the queries of the dashboard and the rules: one line each."""
    for title, query, legend in queries_of(DASHBOARD):
        yield from _faults(title, filled(query), _TAG.findall(legend), scrape)
    for rule in RULES:
        used = _LABEL.findall(" ".join(rule["annotations"].values()))
        yield from _faults(rule["alert"], rule["expr"], used, scrape)


def _faults(title: str, query: str, used: list[str], scrape: Scrape) -> Iterator[str]:
    try:
        labels = labels_of(query, scrape)
    except (AssertionError, ValueError) as error:
        yield f"{title}: {error}"
        return
    yield from (
        f"{title}: its text names {name}, which {query} has not" for name in used if name not in labels
    )


@pytest.mark.timeout(300)
def test_every_query_finds_what_it_asks_for(mill: Mill, valkey_url: str, tmp_path: Path) -> None:
    """Whatever the dashboard and the rules select is told by a service and workers that have seen good and bad, with
    the labels they go by; only who shows the token is told; and what is told is what the reference says."""
    with running_mill(mill, tmp_path, valkey_url) as urls:
        work(mill, tmp_path, urls, valkey_url)
        maintenance, service = urls["batchmill-workers", "maintenance"], urls["batchmill", "api"]
        wait_until(lambda: "batchmill_job_duration_seconds_sum" in told(maintenance)[1], PATIENCE_S)
        for url in urls.values():
            assert [told(url, None)[0], told(url, "another token, and wrong")[0]] == [401, 401]
        assert told(service.replace("/metrics", "/admin/usage"))[0] == 401  # the token is for metrics alone
        assert told(maintenance.replace("/metrics", "/"))[0] == 404
        scrape = scrape_of({target: told(url)[1] for target, url in urls.items()})
    assert list(faults(scrape)) == []
    assert {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in scrape.series
    } == {
        "up",
        *(family.told_as for family in (*FAMILIES, *OF_HTTP, *OF_THE_MILL, BUILD)),
    }


def test_a_query_that_finds_nothing_is_told() -> None:
    """Else the test above could not fail: a wrong name, matcher, label of a sum, side of an operation, legend."""
    page = '# TYPE a counter\na_total{x="1"} 1\n# TYPE b gauge\nb{x="1",y="2"} 1\n'
    scrape = scrape_of({("job", "here"): page})
    assert labels_of("sum by (x) (rate(a_total[1m]))", scrape) == {"x"}
    assert labels_of("sum(b) / on() max(a_total) > 0", scrape) == frozenset()
    for query in ("nowhere", 'a_total{x="2"}', "sum by (y) (a_total)", "a_total / b", "a_total and on (y) b"):
        with pytest.raises(AssertionError):
            labels_of(query, scrape)
    assert list(_faults("title", "sum(b)", ["x"], scrape))


def test_every_alert_has_a_runbook_and_says_what_it_is() -> None:
    """A severity, a summary, and a section of our docs that says what to do."""
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["for"]
        assert rule["annotations"]["runbook"] == f"docs/how-to/metrics.md#{rule['alert'].lower()}"


def test_prometheus_scrapes_every_service_that_tells_metrics() -> None:
    """By the names that Compose gives them, with the token that they want."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    api, workers = config["scrape_configs"]
    assert api["static_configs"][0]["targets"] == ["api:8400"]
    named = set(workers["dns_sd_configs"][0]["names"])
    assert named >= {name for name, one in compose.items() if (one.get("command") or [""])[0] == "worker"}
    assert all(one["authorization"]["credentials_file"] for one in (api, workers))

"""Probes and metrics: what is wrong is named, strangers learn nothing else, and every figure can be read."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.families import OF_HTTP, OF_THE_MILL
from api.metrics import Metrics
from batchmill.metering.families import FAMILIES
from batchmill.requests.model import Lane
from db.engine import Database
from tests.support.api_client import Api, served
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, PRICE_NANOS
from workers.meters.readings import BUILD

NOWHERE = {
    "sqlite": "sqlite:////no/such/folder/batchmill.db",
    "postgresql": "postgresql+psycopg://nobody@127.0.0.1:1/none",
}
DECLARED = {family.name: family for family in (BUILD, *FAMILIES, *OF_HTTP, *OF_THE_MILL)}


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """A service that wants keys."""
    with served(tmp_path, database_url) as api:
        yield api


def families(page: str) -> dict[str, Metric]:
    """What Prometheus reads."""
    return {family.name: family for family in text_string_to_metric_families(page)}


def values(api: Api, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels' values."""
    family = families(api.admin.get("/metrics").text)[name.removesuffix("_total")]
    return {tuple(sample.labels.values()): sample.value for sample in family.samples if sample.name == name}


def test_a_service_that_can_work_is_ready(api: Api) -> None:
    """For everybody who asks."""
    answer = api.stranger.get("/health/ready")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "checks": {"database": "ok", "files": "ok"}},
    )


def test_a_database_of_another_schema_is_named(api: Api) -> None:
    """503, while the process lives: nobody has to start it again."""
    with api.service.database.write() as tx:
        tx.run(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = api.stranger.get("/health/ready")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "not_ready", "checks": {"database": "failing", "files": "ok"}},
    )
    assert api.stranger.get("/health/live").status_code == 200


def test_a_file_store_that_takes_nothing_is_named(database_url: str, tmp_path: Path) -> None:
    """503: uploads would fail."""
    (tmp_path / "files").write_text("no folder")
    with served(tmp_path, database_url, {"BATCHMILL_FILES_URL": str(tmp_path / "files")}) as api:
        answer = api.stranger.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["files"]) == (503, "failing")
    assert str(tmp_path) not in answer.text


def test_a_broker_that_is_away_is_named_without_its_address(database_url: str, tmp_path: Path) -> None:
    """Strangers learn that there is one, and not where."""
    with served(tmp_path, database_url, {"BROKER_URL": "redis://:secret@127.0.0.1:1/0"}) as api:
        answer = api.stranger.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["broker"]) == (503, "failing")
    assert not re.search(r"127\.0|secret|redis", answer.text)


def test_a_broker_that_is_there_is_ready(database_url: str, valkey_url: str, tmp_path: Path) -> None:
    """And its doorbells are counted where queues are told."""
    with served(tmp_path, database_url, {"BROKER_URL": valkey_url}) as api:
        answer = api.stranger.get("/health/ready")
        queues = api.admin.get("/admin/queues").json()
    assert (answer.status_code, answer.json()["checks"]["broker"]) == (200, "ok")
    assert queues["broker"] == "reachable"
    assert [lane["doorbells"] for lane in queues["lanes"]] == [0, 0, 0]


def test_every_metric_keeps_prometheus_conventions(api: Api) -> None:
    """All of them are read back, under the names and labels that the reference has; counters end in _total, and no
    label names a tenant or a user."""
    add_batch(api.service.database, 2, tenant="secret-tenant", user="secret-user")
    worker = Worker(api.service.database)
    worker.answer(ANSWERED, *worker.take(1))
    answer = api.admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "secret" not in answer.text
    found = families(answer.text)
    assert len(found) > 15
    for name, family in found.items():
        assert name.startswith(("batchmill_", "gen_ai_"))
        assert (family.documentation, family.type) == (DECLARED[name].meaning, DECLARED[name].kind)
        assert not name.endswith(("_created", "_total"))  # the parser takes a counter's _total off
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(DECLARED[name].labels)
            assert family.type != "counter" or sample.name == f"{name}_total"


def test_requests_are_counted_by_route_and_status(api: Api) -> None:
    """Ids in paths and paths of nobody's make no new series; the time that each took is in a bucket."""
    for number in range(5):
        api.admin.get(f"/v1/files/file-{number}")
        api.admin.get(f"/nowhere/{number}")
        api.admin.get("/admin/usage?by=colour")
    api.admin.request("BREW", "/health/live")
    counted = values(api, "batchmill_http_requests_total")
    assert counted["GET", "/v1/files/{file_id}", "404"] == 5
    assert counted["GET", "(none)", "404"] == 5
    assert counted["GET", "/admin/usage", "400"] == 5
    assert counted["OTHER", "/health/live", "405"] == 1
    assert all("file-" not in route and "nowhere" not in route for _, route, _ in counted)
    page = families(api.admin.get("/metrics").text)["batchmill_http_request_duration_seconds"]
    counts = {
        sample.labels["route"]: sample.value for sample in page.samples if sample.name.endswith("_count")
    }
    assert counts["/v1/files/{file_id}"] == 5


def test_the_mill_is_told_as_the_database_has_it(api: Api) -> None:
    """Batches and requests by lane, and what was spent since the service began, by model."""
    database = api.service.database
    add_batch(database, 5, lane=Lane.HIGH)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(2))
    worker.send(*worker.take(1))
    found = families(api.admin.get("/metrics").text)

    def value(name: str, **labels: str) -> float:
        values = [sample.value for sample in found[name].samples if sample.labels == labels]
        assert len(values) == 1, (name, labels)
        return values[0]

    assert value("batchmill_database_up") == 1
    assert value("batchmill_batches", lane="high", state="in_progress") == 1
    assert value("batchmill_requests_pending", lane="high") == 2
    assert value("batchmill_requests_in_flight", lane="high") == 1
    assert value("batchmill_requests_pending", lane="low") == 0
    model = {"provider": "openai", "model": "gpt-4o-mini"}
    for name in ("batchmill_spend_usd", "batchmill_spend_today_usd"):
        assert round(value(name, **model) * 1e9) == 2 * PRICE_NANOS
    assert value("batchmill_calls", outcome="answered", **model) == 2
    assert value("batchmill_calls", outcome="failed", **model) == 0


def test_without_the_database_the_service_still_tells_of_itself(api: Api, dialect: str) -> None:
    """That it is away, and what the process has counted."""
    away = Database(NOWHERE[dialect])
    metrics = Metrics(replace(api.service, database=away))
    metrics.count("GET", "/health/live", "200", 0.001)
    found = families(metrics.text().decode())
    assert found["batchmill_database_up"].samples[0].value == 0
    assert found["batchmill_http_requests"].samples[0].value == 1
    assert "batchmill_files" not in found
    away.close()

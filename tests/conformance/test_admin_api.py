"""`/admin`: what the command line tells, for keys of scope admin; and nothing that anyone sends is our mistake."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from batchmill.budgets.model import Period, Scope
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.limits.owner import OwnerLimits
from batchmill.requests.model import Lane
from db import catalogue, limits
from db.engine import Database
from db.tables import batches, budget_periods
from tests.support.api_client import TENANT, Api, served
from tests.support.budgets import add_budget
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, PRICE_NANOS
from tests.support.servers import PostgresCluster

ASKS = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "2 + 2?"}], "max_tokens": 10}
READS = (
    "/admin/usage",
    "/admin/budgets",
    "/admin/budgets/alerts",
    "/admin/budgets/audit",
    "/admin/budgets/history?scope=global",
    "/admin/cache",
    "/admin/providers",
    "/admin/providers/health",
    "/admin/providers/limits",
    "/admin/health",
    "/admin/health/components",
    "/admin/alerts",
    "/admin/queues",
    "/admin/batches",
    "/admin/schedules",
    "/admin/schedules/runs",
)
WRITES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/admin/budgets"): {"scope": "global", "day_usd": "1"},
    ("DELETE", "/admin/budgets?scope=global"): {},
    ("POST", "/admin/budgets/reset"): {"scope": "global"},
    ("POST", "/admin/check-budget"): {"amount_usd": "1"},
    ("POST", "/admin/estimate-cost"): {"body": ASKS},
    ("POST", "/admin/cache/clear"): {},
    ("POST", "/admin/cache/cleanup"): {},
    ("POST", "/admin/cache/optimize"): {},
    ("POST", "/admin/providers/health"): {},
}
ROUTES = [*(("GET", path) for path in READS), ("GET", "/metrics"), *WRITES]


ENVIRON = {"OPENAI_API_KEY": "sk-of-the-test", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """A service that wants keys, and can call nobody."""
    with served(tmp_path, database_url, ENVIRON) as api:
        yield api


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def still(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all who are refused: nothing in it changes."""
    folder = tmp_path_factory.mktemp("still")
    cluster: PostgresCluster | None = None
    url = f"sqlite:///{folder / 'batchmill.db'}"
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "batchmill.db")
    else:
        cluster = request.getfixturevalue("postgres")
        url = cluster.create()
    with served(folder, url, ENVIRON) as api:
        yield api
    if cluster:
        cluster.drop(url)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document, once a service has shown it."""
    return {}


@pytest.fixture
def books(api: Api) -> Database:
    """Its database."""
    return api.service.database


def told(answer: Response, status: int = 200) -> Any:
    """What an answer of that status says."""
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: Response, status: int = 400) -> str:
    """What is said of a request that is wrong: in OpenAI's shape."""
    error = told(answer, status)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    message: str = error["message"]
    return message


def spend(database: Database, calls: int = 1, **options: Any) -> str:
    """A batch of that many answered calls; its public id."""
    batch = add_batch(database, calls, **options)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    public_id: str = batch_of(database, batch).public_id
    return public_id


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_admins_are_answered(still: Api, method: str, path: str) -> None:
    """Without a key 401, with a producer's 403, before anything else is looked at."""
    assert still.stranger.request(method, path).status_code == 401
    assert still.producer.request(method, path).status_code == 403


@pytest.mark.parametrize("path", READS)
def test_what_is_read_is_as_documented(
    api: Api, books: Database, document: dict[str, Any], path: str
) -> None:
    """Every field that an answer has is in the OpenAPI document, and every one there is in the answer."""
    spend(books, job_name="nightly")
    told(api.admin.put("/admin/budgets", json={"scope": "global", "day_usd": 5}))
    with books.write() as tx:
        catalogue.add(tx, ModelEntry(provider="openai", model="gpt-4o-mini", tier=Tier.CHEAP))
        limits.merge(tx, OwnerLimits(provider="openai", model="", rpm=60))
    answer = told(api.admin.get(path))
    if not document:
        document |= api.admin.get("/openapi.json").json()
    schema = document["paths"][path.partition("?")[0]]["get"]["responses"]["200"]["content"][
        "application/json"
    ]["schema"]
    compare(answer, schema, document["components"]["schemas"], optional=path == "/admin/usage")


def compare(value: Any, schema: Any, components: Any, *, optional: bool = False) -> None:
    """Hold an answer against its schema: the names of all fields, as deep as they go."""
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = components[name] if name else schema
    if isinstance(value, list):
        for one in value:
            compare(one, schema["items"], components, optional=optional)
    elif isinstance(value, dict) and "properties" in schema:
        properties = schema["properties"]
        assert schema.get("additionalProperties") or set(value) <= set(properties), name
        assert optional or set(value) >= set(properties), name
        for key in value.keys() & properties.keys():
            compare(value[key], properties[key], components, optional=optional)


def test_usage_is_the_ledgers(api: Api, books: Database) -> None:
    """By whatever columns are asked for, filtered as asked, with the cost exact."""
    first = spend(books, 2, tenant="acme", job_name="nightly")
    spend(books, 1, tenant="other")
    everything = told(api.admin.get("/admin/usage?by=tenant&by=model"))
    assert [(row["tenant"], row["model"], row["calls"]) for row in everything["rows"]] == [
        ("acme", "gpt-4o-mini", 2),
        ("other", "gpt-4o-mini", 1),
    ]
    assert everything["total"] == {
        "requests": 3,
        "calls": 3,
        "hits": 0,
        "unknown": 0,
        "cost_usd": f"0.{3 * PRICE_NANOS:09}".rstrip("0"),
    }
    assert told(api.admin.get(f"/admin/usage?batch={first}"))["total"]["calls"] == 2
    assert told(api.admin.get("/admin/usage?tenant=nobody"))["rows"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("by=colour", "'model', 'provider'"),
        ("since=yesterday", 'since "yesterday" is no date'),
        ("since=1h&until=2h", "since 1h is later than until 2h"),
        ("timezone=Mars/Olympus", "Mars/Olympus"),
        ("model=%00", "model"),
        ("until=" + "9" * 200, "until"),
    ],
)
def test_usage_refuses_what_it_cannot_read(still: Api, query: str, said: str) -> None:
    """Also on a database that knows no NUL."""
    assert said in refused(still.admin.get(f"/admin/usage?{query}"))


def test_usage_of_no_batch_is_not_found(still: Api) -> None:
    """404, as everywhere."""
    refused(still.admin.get("/admin/usage?batch=batch_abcdef"), 404)


def test_a_budget_is_set_changed_begun_anew_and_removed(api: Api) -> None:
    """Each as the command does it; the answer is how it stands, after a removal how it stood."""
    whose = {"scope": "tenant", "name": "acme"}
    made = told(
        api.admin.put(
            "/admin/budgets",
            json=whose | {"day_usd": "2.50", "month_usd": 30.25, "thresholds_percent": [50, 90]},
        )
    )
    assert [(one["period"], one["limit_usd"], one["thresholds_percent"]) for one in made] == [
        ("day", "2.5", [50, 90]),
        ("month", "30.25", [50, 90]),
    ]
    changed = told(api.admin.put("/admin/budgets", json=whose | {"on_limit": "reject"}))
    assert [(one["limit_usd"], one["on_limit"]) for one in changed] == [
        ("2.5", "reject"),
        ("30.25", "reject"),
    ]
    assert told(api.admin.get("/admin/budgets", params=whose)) == changed
    assert told(api.admin.get("/admin/budgets?scope=global")) == []
    reset = told(api.admin.post("/admin/budgets/reset", json=whose | {"period": ["day"]}))
    assert [one["period"] for one in reset] == ["day"]
    removed = told(api.admin.delete("/admin/budgets", params=whose | {"period": "day"}))
    assert [one["period"] for one in removed] == ["day"]
    assert [one["period"] for one in told(api.admin.get("/admin/budgets"))] == ["month"]
    refused(api.admin.delete("/admin/budgets", params=whose | {"period": "day"}), 404)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"day_usd": "two"}, "day_usd"),
        ({"day_usd": -1}, "day_usd"),
        ({"day_usd": 10**400}, "day_usd"),
        ({"day_usd": 1e300}, "day_usd"),
        ({"day_usd": True}, "day_usd"),
        ({"day_usd": "0.0000000001"}, "decimals"),
        ({"day_usd": "1", "name": "a\0b"}, "name"),
        ({"day_usd": "1", "name": ""}, "missing"),
        ({"day_usd": "1", "scope": "galaxy"}, "galaxy"),
        ({"day_usd": "1", "scope": "global"}, "has no name"),
        ({"day_usd": "1", "timezone": "../../etc/passwd"}, "time zone"),
        ({"day_usd": "1", "thresholds_percent": [90, 50]}, "ascend"),
        ({"day_usd": "1", "downgrade_at_percent": 50}, "does not ask cheaper models"),
        ({"day_usd": "1", "colour": "red"}, "colour"),
        ({}, "nothing is to be set"),
        ({"on_limit": "reject"}, "missing"),
    ],
)
def test_a_wrong_budget_is_refused(still: Api, wrong: dict[str, Any], said: str) -> None:
    """And nothing is set."""
    assert said in refused(
        still.admin.put("/admin/budgets", json={"scope": "tenant", "name": "acme"} | wrong)
    )
    assert told(still.admin.get("/admin/budgets")) == []


def test_text_that_is_none_is_refused(still: Api) -> None:
    """Half of a character, which no database and no provider takes."""
    half = {"content-type": "application/json"}
    budget = '{"scope": "tenant", "name": "\\ud800", "day_usd": "1"}'
    refused(still.admin.put("/admin/budgets", content=budget, headers=half))
    asks = '{"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "\\ud800"}]}}'
    refused(still.admin.post("/admin/estimate-cost", content=asks, headers=half))
    refused(still.admin.post("/admin/check-budget", content=asks, headers=half))


def test_the_audit_says_what_the_ledger_says(api: Api, books: Database) -> None:
    """Clean while both are the same, and where they differ by how much."""
    spend(books)
    told(api.admin.put("/admin/budgets", json={"scope": "global", "day_usd": 5}))
    clean = told(api.admin.get("/admin/budgets/audit"))
    assert (clean["clean"], clean["periods"][0]["spent"]["difference_usd"]) == (True, "0")
    with books.write() as tx:
        tx.run(budget_periods.update().values(spent_nanos=budget_periods.c.spent_nanos + 7))
    wrong = told(api.admin.get("/admin/budgets/audit"))
    assert (wrong["clean"], wrong["periods"][0]["spent"]["difference_usd"]) == (False, "0.000000007")


def test_the_history_of_a_budget_is_told(api: Api, books: Database) -> None:
    """Its past periods and its alerts, which are also among those of all budgets."""
    whose = {"scope": "tenant", "name": "local"}
    told(api.admin.put("/admin/budgets", json=whose | {"total_usd": "0.000001", "on_limit": "reject"}))
    add_batch(books, 1)
    worker = Worker(books)
    (attempt,) = worker.send(*worker.take(), hold_nanos=PRICE_NANOS)
    worker.settle((attempt, ANSWERED))
    told(api.admin.post("/admin/budgets/reset", json=whose))
    (history,) = told(api.admin.get("/admin/budgets/history", params=whose))
    assert [period["spent_usd"] for period in history["past_periods"]] == ["0.000001"]
    assert history["spent_usd"] == "0"
    assert [alert["severity"] for alert in history["alerts"]] == ["exceeded", "critical", "warning"]
    assert told(api.admin.get("/admin/budgets/alerts")) == history["alerts"]
    assert told(api.admin.get("/admin/budgets/alerts?limit=1")) == history["alerts"][:1]
    refused(api.admin.get("/admin/budgets/alerts?limit=0"))
    refused(api.admin.get("/admin/budgets/history?scope=tenant"))
    refused(api.admin.get("/admin/budgets/history?scope=tenant&name=nobody"), 404)


def test_an_amount_fits_or_not(api: Api, books: Database) -> None:
    """By each budget that covers it, those of its tenant, model and type among them."""
    add_budget(books, 2_000_000_000, scope=Scope.TENANT, name=TENANT, period=Period.DAY)
    add_budget(books, 500_000_000, scope=Scope.MODEL, name="gpt-4o-mini")

    def check(**asked: Any) -> Any:
        return told(api.admin.post("/admin/check-budget", json=asked))

    assert check(amount_usd="2")["fits"] is True
    assert check(amount_usd="2.000000001")["fits"] is False
    assert [one["scope"] for one in check(amount_usd=1, model="auto")["budgets"]] == ["tenant"]
    of_model = check(amount_usd=1, model="gpt-4o-mini")
    assert (of_model["fits"], of_model["provider"]) == (False, "openai")
    assert [(one["budget"], one["fits"], one["verdict"]) for one in of_model["budgets"]] == [
        (f"the daily budget of tenant {TENANT}", True, "fits"),
        ("the budget of model gpt-4o-mini", False, "never"),
    ]
    assert check(amount_usd=10, tenant="other") == {
        "fits": True,
        "amount_usd": "10",
        "provider": None,
        "model": None,
        "tenant": "other",
        "user": None,
        "request_type": None,
        "budgets": [],
    }


def test_a_request_fits_at_the_most_that_it_can_cost(api: Api, books: Database) -> None:
    """The amount checked is the most of its estimate, at the model that it goes to."""
    add_budget(books, 1_000, scope=Scope.PROVIDER, name="openai")
    estimate = told(api.admin.post("/admin/estimate-cost", json={"body": ASKS}))["estimates"][0]
    check = told(api.admin.post("/admin/check-budget", json={"body": ASKS}))
    assert check["amount_usd"] == estimate["most_usd"]
    assert (check["fits"], check["model"]) == (False, "gpt-4o-mini")


def test_a_model_without_a_price_fits_where_that_is_allowed(api: Api, books: Database) -> None:
    """As at dispatch: else it is refused, however much is left."""
    asks = {"body": ASKS, "model": "local/my-own"}
    refused(api.admin.post("/admin/check-budget", json=asks))  # there is no address for it
    asks["model"] = "a-model-nobody-knows"
    add_budget(books, 10**12)
    check = told(api.admin.post("/admin/check-budget", json=asks))
    assert (check["fits"], check["amount_usd"], check["budgets"][0]["verdict"]) == (False, None, "unpriced")
    told(api.admin.put("/admin/budgets", json={"scope": "global", "allow_unpriced": True}))
    assert told(api.admin.post("/admin/check-budget", json=asks))["fits"] is True


def test_models_are_compared_cheapest_first(api: Api) -> None:
    """A prompt will do."""
    asked = {"prompt": "2 + 2?", "max_tokens": 10, "models": ["gpt-4o", "gpt-4o-mini"]}
    estimates = told(api.admin.post("/admin/estimate-cost", json=asked))["estimates"]
    assert [one["model"] for one in estimates] == ["gpt-4o-mini", "gpt-4o"]


@pytest.mark.parametrize("path", ["/admin/estimate-cost", "/admin/check-budget"])
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"body": {}},
        {"body": ASKS | {"model": ""}},
        {"body": ASKS | {"model": "a\0b"}},
        {"body": ASKS, "model": "a\0b"},
        {"body": ASKS, "prompt": "2 + 2?"},
        {"body": ASKS | {"seed": 2**64}},
        {"body": ASKS, "endpoint": "/v1/nothing"},
        {"body": ASKS, "model": "auto"},
        {"prompt": "2 + 2?"},
        {"prompt": "2 + 2?", "model": "m", "max_tokens": 10**30},
        {"prompt": "2 + 2?", "model": "m", "endpoint": "/v1/embeddings", "max_tokens": 5},
    ],
)
def test_a_wrong_question_is_refused(still: Api, path: str, wrong: dict[str, Any]) -> None:
    """With what is wrong, and never as a mistake of ours."""
    refused(still.admin.post(path, json=wrong))


def test_a_document_deeper_than_any_is_refused(still: Api) -> None:
    """However deep."""
    headers = {"content-type": "application/json"}
    for text in ("[" * 200_000, '{"body":' * 200_000, '{"body": ' + "[" * 5_000 + "]" * 5_000 + "}"):
        refused(still.admin.post("/admin/estimate-cost", content=text, headers=headers))


def test_the_cache_is_counted_and_cleared(api: Api, books: Database) -> None:
    """Only what is meant goes; a dry run says the same and drops nothing."""
    worker = Worker(books)
    for tenant in ("acme", "other"):
        add_batch(books, [f"key-of-{tenant}"], tenant=tenant, request_type="sums")
        worker.answer(ANSWERED, *worker.take())
    assert told(api.admin.get("/admin/cache"))["rows"][0] | {"answer_bytes": 0} == {
        "type": "sums",
        "entries": 2,
        "live": 2,
        "expired": 0,
        "verified": 0,
        "answer_bytes": 0,
        "hits_per_entry": 0.0,
        "requests": 2,
        "hits": 0,
        "hit_rate": 0.0,
        "error_rate": 0.0,
        "response_s": 0.0,
        "cost_per_request_usd": "0.000001",
        "saved_usd": "0",
        "verdicts": {"hit_rate": "poor", "error_rate": "good", "response_s": "good", "cost_usd": "good"},
    }
    only = {"tenant": "acme"}
    would = told(api.admin.post("/admin/cache/clear", json=only | {"dry_run": True}))
    assert (would["entries"], would["dropped"]) == (1, False)
    assert told(api.admin.post("/admin/cache/clear", json={"model": "another"}))["entries"] == 0
    done = told(api.admin.post("/admin/cache/clear", json=only))
    assert (done["entries"], done["dropped"]) == (1, True)
    assert told(api.admin.post("/admin/cache/cleanup", json={}))["entries"] == 0
    assert told(api.admin.get("/admin/cache"))["total"]["entries"] == 1


def test_the_cache_is_fitted_into_its_size(api: Api, books: Database) -> None:
    """By the settings, or as it is said; a dry run says the same and drops nothing."""
    worker = Worker(books)
    add_batch(books, ["one", "two", "three"])
    worker.answer(ANSWERED, *worker.take())
    assert told(api.admin.post("/admin/cache/optimize", json={}))["by_worth"]["entries"] == 0
    would = told(api.admin.post("/admin/cache/optimize", json={"max_entries": 1, "dry_run": True}))
    done = told(api.admin.post("/admin/cache/optimize", json={"max_entries": 1}))
    assert would["by_worth"] == done["by_worth"]
    assert (would["dropped"], done["dropped"], done["left"]["entries"]) == (False, True, 1)
    assert done["room"] == {"max_entries": 1, "max_mb": 10_000}
    assert "max_mb" in refused(api.admin.post("/admin/cache/optimize", json={"max_mb": -1}))


def test_clearing_all_of_the_cache_has_to_be_said(still: Api) -> None:
    """By an empty object: a request without a body, or with a filter of another name, clears nothing."""
    refused(still.admin.post("/admin/cache/clear"))
    assert "tenants" in refused(still.admin.post("/admin/cache/clear", json={"tenants": "acme"}))
    assert "older_than" in refused(still.admin.post("/admin/cache/clear", json={"older_than": "long ago"}))
    assert "since" in refused(still.admin.get("/admin/cache?since=long+ago"))


def test_providers_are_told_without_their_keys(api: Api, books: Database) -> None:
    """The catalogue with the prices that count, and of each account whether it is usable."""
    with books.write() as tx:
        catalogue.add(tx, ModelEntry(provider="openai", model="gpt-4o-mini", tier=Tier.CHEAP))
    answer = api.admin.get("/admin/providers")
    assert "sk-of-the-test" not in answer.text
    found = told(answer)
    assert [(model["name"], model["price"]["source"]) for model in found["models"]] == [
        ("openai/gpt-4o-mini", "list")
    ]
    accounts = {account["provider"]: account for account in found["accounts"]}
    assert (accounts["openai"]["usable"], accounts["openai"]["keys"]) == (True, 1)
    assert (accounts["anthropic"]["usable"], accounts["anthropic"]["missing"]) == (False, "ANTHROPIC_API_KEY")
    assert told(api.admin.get("/admin/providers?tier=premium"))["models"] == []
    refused(api.admin.get("/admin/providers?tier=highest"))


def test_a_provider_that_is_away_is_told(api: Api) -> None:
    """A look is asked for by POST, and what it found is what GET tells."""
    before = {one["provider"]: one["state"] for one in told(api.admin.get("/admin/providers/health"))}
    assert before["openai"] == "not_checked"
    looked = told(api.admin.post("/admin/providers/health"))
    assert {one["provider"]: one["state"] for one in looked}["openai"] == "failing"
    assert told(api.admin.get("/admin/providers/health")) == looked


def test_limits_are_told(api: Api, books: Database) -> None:
    """Those that are set."""
    with books.write() as tx:
        limits.merge(tx, OwnerLimits(provider="openai", model="gpt-4o-mini", rpm=60))
    assert [one["rpm"] for one in told(api.admin.get("/admin/providers/limits"))] == [60]
    assert told(api.admin.get("/admin/providers/limits?provider=anthropic")) == []
    refused(api.admin.get("/admin/providers/limits?provider=nobody"))


def test_queues_are_told_by_lane(api: Api, books: Database) -> None:
    """Batches by state, requests held and not; without a broker the doorbells are not known."""
    add_batch(books, 3, lane=Lane.HIGH)
    worker = Worker(books)
    worker.send(*worker.take(1))
    found = told(api.admin.get("/admin/queues"))
    assert found["lanes"][0] == {
        "lane": "high",
        "batches": {"in_progress": 1},
        "pending": 2,
        "in_flight": 1,
        "doorbells": None,
    }
    assert found["broker"] == "away"


def test_batches_of_all_tenants_are_listed_page_by_page(api: Api, books: Database) -> None:
    """Newest first; a header says whether there are older ones."""
    names = [spend(books, tenant=tenant) for tenant in ("acme", "other", "acme")][::-1]
    first = api.admin.get("/admin/batches?limit=2")
    assert [one["id"] for one in told(first)] == names[:2]
    assert first.headers["x-has-more"] == "true"
    second = api.admin.get("/admin/batches", params={"limit": 2, "after": names[1]})
    assert [one["id"] for one in told(second)] == names[2:]
    assert second.headers["x-has-more"] == "false"
    assert [one["tenant"] for one in told(api.admin.get("/admin/batches?tenant=other"))] == ["other"]
    assert told(api.admin.get("/admin/batches?state=paused")) == []


def test_single_requests_are_no_batches(api: Api, books: Database) -> None:
    """Whoever lists batches does not want to see every call of everyone."""
    batch = add_batch(books, 1)
    with books.write() as tx:
        tx.run(batches.update().values(is_direct=True).where(batches.c.id == batch))
    assert told(api.admin.get("/admin/batches")) == []


@pytest.mark.parametrize("query", ["limit=0", "limit=" + "9" * 30, "state=lost", "after=%00", "tenant=%00"])
def test_a_wrong_page_is_refused(still: Api, query: str) -> None:
    """With what is wrong of it."""
    refused(still.admin.get(f"/admin/batches?{query}"))


def test_a_page_after_no_batch_is_not_found(still: Api) -> None:
    """404, as everywhere."""
    refused(still.admin.get("/admin/batches?after=batch_abcdef"), 404)


def test_the_doctors_findings_are_told(api: Api, books: Database) -> None:
    """The surroundings and every promise; where one is broken, all is not well."""
    healthy = told(api.admin.get("/admin/health"))
    assert healthy["well"] is True
    assert {"database", "workers"} <= {finding["check"] for finding in healthy["findings"]}
    batch = add_batch(books, 1)
    with books.write() as tx:
        tx.run(batches.update().values(done=7).where(batches.c.id == batch))
    ill = told(api.admin.get("/admin/health"))
    assert ill["well"] is False
    assert any(
        example["batch"] == batch_of(books, batch).public_id
        for finding in ill["findings"]
        for example in finding["examples"]
    )

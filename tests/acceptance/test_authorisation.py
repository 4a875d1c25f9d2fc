"""Who may what over HTTP: every route of the app for every kind of caller, and nothing of others to be seen.

The routes are taken from the app itself, so that none can be forgotten: one that asks for no scope has to be among
`OPEN`, and one that takes an id nobody here can make fails until it is told how.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from api.auth import Admin
from tests.support.sites import Site, served, wanted
from workers.serving.keys import Scope, revoke

OPEN = {"/health/live", "/health/ready", "/openapi.json"}
"""What anybody may ask."""
OURS, THEIRS = "acme", "beta"
UNKNOWN = {
    "file_id": "file-0123456789abcdef01234567",
    "batch_id": "batch_0123456789abcdef01234567",
    "model": "no-such-model",
}
"""An id of each kind that a path may hold, which nobody has."""
OF_A_TENANT = ("file_id", "batch_id")
"""Kinds of ids that belong to a tenant."""
ADMINS = APIRouter()
"""A route for admins that has nothing else to say: what holds for all of them is shown by it, too."""
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


@ADMINS.post("/admin/test")
def _told(caller: Admin, body: dict[str, str]) -> dict[str, str]:
    return body | {"tenant": caller.tenant}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A route and one of its methods.

    Attributes:
        scope: What it asks for; None when it asks for none.
    """

    method: str
    path: str
    scope: Scope | None

    @property
    def parameters(self) -> list[str]:
        """Kinds of ids in its path."""
        return _PARAMETER.findall(self.path)

    def at(self, ids: dict[str, str]) -> str:
        """Its path with these ids."""
        return _PARAMETER.sub(lambda found: ids[found[1]], self.path)


def scope_of(dependant: Dependant) -> Scope | None:
    """What a route asks for; two of its dependencies must not differ."""
    scopes = {getattr(dependant.call, "scope", None)} | {scope_of(one) for one in dependant.dependencies}
    scopes.discard(None)
    assert len(scopes) < 2, scopes
    return scopes.pop() if scopes else None


def ways_of(app: FastAPI) -> list[Way]:
    """Every way into an app."""
    found = []
    for route in iter_route_contexts(app.routes):
        assert route.path
        assert route.methods, f"{route.path} takes whatever comes; the matrix cannot tell who may call it"
        scope = scope_of(route.dependant) if isinstance(route.original_route, APIRoute) else None
        found += [Way(method=method, path=route.path, scope=scope) for method in sorted(route.methods)]
    return [way for way in found if way.method != "HEAD"]


def ids_for(site: Site, way: Way, key: str | None) -> dict[str, str]:
    """What a way's path needs, made anew with that key."""
    makers = {"file_id": site.make_file, "batch_id": site.make_batch}
    return {name: makers[name](key) if name in makers else UNKNOWN[name] for name in way.parameters}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that asks for keys, with a key for each column of the matrix."""
    with served(tmp_path_factory.mktemp("site"), more=ADMINS) as site:
        ring = site.service.keyring
        now_ms = site.service.database.now_ms()
        site.keys = {
            "producer": ring.create(OURS, Scope.PRODUCER)[1],
            "admin": ring.create(OURS, Scope.ADMIN)[1],
            "their producer": ring.create(THEIRS, Scope.PRODUCER)[1],
            "their admin": ring.create(THEIRS, Scope.ADMIN)[1],
            "expired": ring.create(OURS, Scope.ADMIN, expires_ms=now_ms - 1)[1],
            "revoked": ring.create(OURS, Scope.ADMIN)[1],
            "wrong": f"bm-0123456789ab-{'A' * 43}",
            "malformed": "sk-of-somebody-else",
        }
        revoke(site.service.database, site.keys["revoked"])
        yield site


@pytest.fixture(scope="module")
def ways(site: Site) -> list[Way]:
    """Every way into the service."""
    return ways_of(site.app)


def guarded(ways: list[Way], *scopes: Scope) -> list[Way]:
    """Those that ask for one of these scopes."""
    return [way for way in ways if way.scope in scopes]


def test_every_route_says_whom_it_is_for(ways: list[Way]) -> None:
    """By a scope, or by standing among those that are open to all; and what its ids are is known here."""
    assert {way.path for way in ways if way.scope is None} <= OPEN
    assert guarded(ways, Scope.PRODUCER)
    assert guarded(ways, Scope.ADMIN)
    assert {name for way in ways for name in way.parameters} <= set(UNKNOWN)


def test_what_is_open_takes_no_key(site: Site, ways: list[Way]) -> None:
    """And none that is wrong harms."""
    for way in ways:
        if way.scope is None:
            for key in (None, site.keys["wrong"]):
                assert site.ask(way.method, way.path, key).status in (200, 503), way


@pytest.mark.parametrize("who", [None, "wrong", "malformed", "revoked", "expired"])
def test_nobody_gets_in_without_a_valid_key(site: Site, ways: list[Way], who: str | None) -> None:
    """On any route, whatever else is wrong with the request; why a key is refused is not told."""
    bodies = set()
    for way in guarded(ways, *Scope):
        key = site.keys[who] if who is not None else None
        answers = [site.ask(way.method, way.at(UNKNOWN), key, body) for body in (b"{}", b"{no json")]
        assert [one.status for one in answers] == [401, 401], way
        assert all(one.headers["www-authenticate"] == "Bearer" for one in answers)
        bodies |= {one.body for one in answers}
    wrong = site.ask("GET", "/v1/files", site.keys["wrong"]).body
    assert len(bodies) == 1
    assert (bodies == {wrong}) is (who is not None)


@pytest.mark.parametrize("who", ["producer", "their producer"])
def test_a_producer_may_do_nothing_of_an_admin_s(site: Site, ways: list[Way], who: str) -> None:
    """On any route for admins, of his own tenant as of others."""
    for way in guarded(ways, Scope.ADMIN):
        answer = site.ask(way.method, way.at(UNKNOWN), site.keys[who])
        assert answer.status == 403, way
        assert answer.error["type"] == "permission_error"


@pytest.mark.parametrize("who", ["producer", "admin"])
def test_a_tenant_may_do_what_his_key_is_for(site: Site, ways: list[Way], who: str) -> None:
    """With what is his own; what he asks for may be wrong, but he is not turned away."""
    scopes = Scope if who == "admin" else [Scope.PRODUCER]
    for way in guarded(ways, *scopes):
        key = site.keys[who]
        answer = site.ask(way.method, way.at(ids_for(site, way, key)), key)
        assert answer.status < 500, (way, answer)
        assert answer.status not in (401, 403), (way, answer)
        if way.method == "GET" and "model" not in way.parameters and way.scope is Scope.PRODUCER:
            assert answer.status == 200, (way, answer)


@pytest.mark.parametrize("who", ["their producer", "their admin"])
def test_what_is_another_tenant_s_is_not_there(site: Site, ways: list[Way], who: str) -> None:
    """The answer is the one that an id gets which nobody has, but for the id, and nothing has happened to it."""
    key = site.keys[who]
    checked = [way for way in guarded(ways, Scope.PRODUCER) if set(way.parameters) & set(OF_A_TENANT)]
    assert {name for way in checked for name in way.parameters} == set(OF_A_TENANT)
    for way in checked:
        ids = ids_for(site, way, site.keys["producer"])
        before = shown(site, ids)
        foreign, unknown = (site.ask(way.method, way.at(named), key) for named in (ids, UNKNOWN))
        assert foreign.status == unknown.status == 404, (way, foreign)
        expected = unknown.body
        for name, value in ids.items():
            expected = expected.replace(UNKNOWN[name], value)
        assert foreign.body == expected
        assert foreign.headers.keys() == unknown.headers.keys()
        assert shown(site, ids) == before


def shown(site: Site, ids: dict[str, str]) -> list[str]:
    """What these are, to their owner."""
    at = {"file_id": "/v1/files/", "batch_id": "/v1/batches/"}
    return [
        site.ask("GET", at[name] + value, site.keys["producer"]).body
        for name, value in ids.items()
        if name in at
    ]


def test_no_list_shows_what_is_another_tenant_s(site: Site, ways: list[Way]) -> None:
    """Nor does it page by another's ids; of no route for producers that takes no id."""
    file, batch = site.make_file(site.keys["producer"]), site.make_batch(site.keys["producer"])
    lists = [
        way
        for way in guarded(ways, Scope.PRODUCER)
        if way.method == "GET" and not set(way.parameters) & set(OF_A_TENANT)
    ]
    assert {"/v1/files", "/v1/batches"} <= {way.path for way in lists}
    for way in lists:
        told = site.ask("GET", way.at(UNKNOWN), site.keys["their producer"]).body
        assert file not in told, way
        assert batch not in told, way
    for path, foreign, kind in (("/v1/files", file, "file_id"), ("/v1/batches", batch, "batch_id")):
        after = [
            site.ask("GET", f"{path}?after={name}", site.keys["their producer"])
            for name in (foreign, UNKNOWN[kind])
        ]
        assert after[0].status == after[1].status
        assert after[0].body.replace(foreign, "") == after[1].body.replace(UNKNOWN[kind], "")


def test_a_batch_is_not_made_of_another_tenant_s_file(site: Site) -> None:
    """It is a file that is not there."""
    file = site.make_file(site.keys["producer"])
    foreign, unknown = (
        site.ask("POST", "/v1/batches", site.keys["their producer"], wanted(name))
        for name in (file, UNKNOWN["file_id"])
    )
    assert foreign.status == unknown.status
    assert 400 <= foreign.status < 500
    assert foreign.body == unknown.body.replace(UNKNOWN["file_id"], file)


def test_a_name_for_a_request_is_the_tenant_s_own(site: Site) -> None:
    """The same Idempotency-Key of another tenant is another name, and gives nothing away."""
    named = {"idempotency-key": "nightly"}
    ours, theirs = site.keys["producer"], site.keys["their producer"]
    mine = site.ask("POST", "/v1/batches", ours, wanted(site.make_file(ours)), named)
    other = site.ask("POST", "/v1/batches", theirs, wanted(site.make_file(theirs)), named)
    assert mine.status == other.status == 200
    assert json.loads(mine.body)["id"] != json.loads(other.body)["id"]


def test_a_revoked_key_is_refused_within_a_second(site: Site) -> None:
    """Also one that was in use."""
    token = site.service.keyring.create(OURS, Scope.PRODUCER)[1]
    assert site.ask("GET", "/v1/files", token).status == 200
    revoke(site.service.database, token)
    time.sleep(1.0)
    assert site.ask("GET", "/v1/files", token).status == 401


@pytest.mark.parametrize("key", [None, "sk-whatever", "bm-0123456789ab-" + "A" * 43])
def test_without_keys_this_machine_is_answered(tmp_path: Path, key: str | None) -> None:
    """On every route, with any key or none, as the local tenant; but no page from elsewhere."""
    pages = [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
        {"origin": "null"},
    ]
    with served(tmp_path, wants_keys=False) as site:
        for way in guarded(ways_of(site.app), *Scope):
            path = way.at(ids_for(site, way, "any"))
            for page in pages:
                answer = site.ask(way.method, path, key, headers=page)
                assert answer.status == 403, (way, page)
            answer = site.ask(way.method, path, key)
            assert answer.status < 500, (way, answer)
            assert answer.status not in (401, 403), (way, answer)
        local = site.service.keyring.create("local", Scope.PRODUCER)[1]
        assert json.loads(site.ask("GET", "/v1/files", local).body)["data"]


def test_without_keys_other_machines_are_not_answered(tmp_path: Path) -> None:
    """A service that others can reach asks for keys, though nobody has said so."""
    with served(tmp_path, wants_keys=False, BATCHMILL_HOST="0.0.0.0") as site:
        for way in guarded(ways_of(site.app), *Scope):
            for key in (None, "sk-whatever"):
                assert site.ask(way.method, way.at(UNKNOWN), key).status == 401, way

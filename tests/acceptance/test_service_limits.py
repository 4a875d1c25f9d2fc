"""Limits of the service over real HTTP: requests a minute of a key, and large bodies."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.requests.jsonl import MB
from tests.support.sites import Site, served
from workers.serving.keys import Scope

TOLD = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A service that lets four requests a minute through for each key, with bodies of a megabyte."""
    with served(tmp_path, BATCHMILL_KEY_RPM="4", BATCHMILL_MAX_BODY_MB="1") as site:
        site.keys = {name: site.service.keyring.create("acme", Scope.PRODUCER)[1] for name in ("one", "two")}
        yield site


def spaces(megabytes: int) -> Iterator[bytes]:
    """A body that is sent in pieces, of which nobody knows beforehand how long it gets."""
    for _ in range(megabytes * 10):
        yield b" " * (MB // 10)


def test_one_request_too_many_is_told_when_to_come_again(site: Site) -> None:
    """In OpenAI's shape; other keys are not concerned, and answers that refuse something count as well."""
    key = site.keys["one"]
    answers = [site.ask("GET", path, key) for path in ("/v1/files", "/v1/files/none", "/v1/nothing")]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["3", "2", "1"]
    answers = [site.ask("GET", "/v1/batches", key) for _ in range(2)]
    assert [one.status for one in answers] == [200, 429]
    refused = answers[1]
    assert (refused.error["type"], refused.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-request-id"].startswith("req_")
    assert set(TOLD) <= refused.headers.keys()
    assert site.ask("GET", "/v1/batches", site.keys["two"]).status == 200


def test_who_has_no_key_takes_from_nobody_s_limit(site: Site) -> None:
    """Refused keys are not counted, and are told of no limit."""
    key = site.keys["one"]
    wrong = key[:-2] + ("AA" if key[-2:] != "AA" else "BB")
    answers = [site.ask("GET", "/v1/files", shown) for shown in (wrong, None) * 10]
    assert {one.status for one in answers} == {401}
    assert not [one for one in answers if set(TOLD) & one.headers.keys()]
    assert site.ask("GET", "/v1/files", key).headers["x-ratelimit-remaining-requests"] == "3"


@pytest.mark.parametrize("body", [b" " * (2 * MB), None], ids=["told", "in pieces"])
def test_a_body_that_is_too_large_is_refused(site: Site, body: bytes | None) -> None:
    """Whether its length is told or not; memory does not grow with it, and the service goes on."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = site.ask("POST", "/v1/batches", site.keys["one"], body if body is not None else spaces(100))
    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"
    assert answer.headers["x-request-id"].startswith("req_")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 30_000
    assert site.ask("POST", "/v1/batches", site.keys["one"], b"{}").status == 400


def test_a_body_of_nobody_is_not_read(site: Site) -> None:
    """Who shows no key is told so, however large and wrong it is."""
    for body in (b" " * (2 * MB), spaces(3), b"{no json"):
        assert site.ask("POST", "/v1/batches", None, body).status == 401


def test_uploads_have_a_limit_of_their_own(site: Site) -> None:
    """A file may be larger than a body."""
    file = site.make_file(site.keys["one"], padding=" " * 2 * MB)
    assert json.loads(site.ask("GET", f"/v1/files/{file}", site.keys["one"]).body)["bytes"] > 2 * MB

"""The look at providers, on both databases: all at once, each once, and written down."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from batchmill.providers.names import ProviderName
from batchmill.settings import Settings, load_settings
from db import provider_checks
from db.engine import Database
from tests.support.echoing import echoing
from tests.support.ports import free_port
from tests.support.provider_servers import http
from tests.support.receivers import Meet, served
from workers.provider_health import check_providers

MODELS = b'{"object":"list","data":[]}'
REVOKED = b'{"error":{"message":"it is revoked","code":"invalid_api_key"}}'
KEYS = ("good-key-1", "good-key-2", "good-key-3")
NOWHERE = "http://127.0.0.1:9/v1"


@contextmanager
def server(make_meet: Callable[[], Meet]) -> Iterator[str]:
    """A server that meets each connection so; its address."""
    port = free_port()
    with served(lambda: asyncio.start_server(make_meet(), "127.0.0.1", port)):
        yield f"http://127.0.0.1:{port}/v1"


def answering(waits_for: int = 1) -> Meet:
    """Lists its models, once so many ask for them at the same time."""
    together = asyncio.Barrier(waits_for)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.write(http(200, MODELS))
        await writer.drain()
        writer.close()

    return meet


def knowing(keys: set[str]) -> Meet:
    """Lists its models for whoever comes with one of these keys."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        known = head.split("Bearer ")[1].split()[0] in keys
        writer.write(http(200, MODELS) if known else http(401, REVOKED))
        await writer.drain()
        writer.close()

    return meet


def with_providers(settings: Settings, **environ: str) -> Settings:
    """The same installation with these accounts."""
    return load_settings(settings.to_environ() | environ, None)


def ok(database: Database, settings: Settings) -> dict[str, bool]:
    """Which providers are known to be well, by name, of those that were looked at."""
    upstreams = {name.value: account.upstream for name, account in settings.providers.items()}
    with database.read() as tx:
        return {name: one.last.is_ok for name, one in provider_checks.health(tx, upstreams).items()}


def test_all_are_asked_at_once(settings: Settings, database: Database) -> None:
    """A server that answers only once two wait for it answers both."""
    with server(lambda: answering(2)) as url:
        mine = with_providers(settings, OPENAI_BASE_URL=url, LOCAL_BASE_URL=url)
        checks = check_providers(mine, database, timeout_s=30)
    assert {name: check.is_ok for name, check in checks.items()} == {"openai": True, "local": True}
    assert ok(database, mine) == {"openai": True, "local": True}


def test_one_that_fails_does_not_hide_the_others(settings: Settings, database: Database) -> None:
    """Each is written down as it was found, with its address."""
    with server(answering) as url:
        mine = with_providers(settings, OPENAI_BASE_URL=NOWHERE, LOCAL_BASE_URL=url)
        checks = check_providers(mine, database)
    assert checks[ProviderName.OPENAI].error_code == "connect_failed"
    assert (checks[ProviderName.OPENAI].upstream, checks[ProviderName.LOCAL].upstream) == (NOWHERE, url)
    assert ok(database, mine) == {"openai": False, "local": True}


def test_only_those_wanted_are_asked(settings: Settings, database: Database) -> None:
    """The others are left as they were."""
    mine = with_providers(settings, OPENAI_BASE_URL=NOWHERE, LOCAL_BASE_URL=NOWHERE)
    assert check_providers(mine, database, frozenset({ProviderName.LOCAL})).keys() == {"local"}
    assert ok(database, mine) == {"local": False}


def test_without_a_usable_provider_nobody_is_asked(settings: Settings, database: Database) -> None:
    """Nothing is written down either."""
    assert check_providers(settings, database) == {}
    assert ok(database, settings) == {}


def test_one_that_says_nothing_is_not_waited_for(settings: Settings, database: Database) -> None:
    """It fails when its time is up."""
    with server(lambda: answering(2)) as url:
        mine = with_providers(settings, LOCAL_BASE_URL=url)
        checks = check_providers(mine, database, timeout_s=0.2)
    assert checks[ProviderName.LOCAL].error_code == "request_timeout"


def test_a_key_that_is_refused(settings: Settings, database: Database) -> None:
    """The provider's words are kept, the key it repeats is not; what is the same with each key is told once."""
    with echoing() as echo:
        mine = with_providers(settings, OPENAI_BASE_URL=echo.url, OPENAI_API_KEY="first-of-two,second-of-two")
        check = check_providers(mine, database)[ProviderName.OPENAI]
    assert sorted(head.split("Bearer ")[1].split()[0] for head in echo.heard) == [
        "first-of-two",
        "second-of-two",
    ]
    assert check.error_message.count("[key]") == 1
    assert "of-two" not in check.error_message + check.error_code


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"good-key-2"}, "key 2 of 3: it is revoked"),
        ({"good-key-1", "good-key-3"}, "key 1 of 3: it is revoked; key 3 of 3: it is revoked"),
        (set(KEYS), "it is revoked"),
        (set(), ""),
    ],
)
def test_each_key_of_a_pool_is_tried(
    settings: Settings, database: Database, bad: set[str], told: str
) -> None:
    """A provider is well when it knows all of them; one that it does not know is told by its place."""
    with server(lambda: knowing(set(KEYS) - bad)) as url:
        mine = with_providers(settings, OPENAI_BASE_URL=url, OPENAI_API_KEY=",".join(KEYS))
        check = check_providers(mine, database)[ProviderName.OPENAI]
    assert (check.error_message, check.error_code) == (told, "invalid_api_key" if bad else "")
    assert ok(database, mine) == {"openai": not bad}

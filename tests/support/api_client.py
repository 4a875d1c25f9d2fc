"""The service's HTTP face, called in the tester's own process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from api.app import make_app
from batchmill.settings import load_settings
from workers.serving.keys import Scope
from workers.serving.service import Service, make_service

SECRET = "a secret for the hashes of keys in tests"
TENANT = "acme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The service, and those who call it: with a key of scope admin, with one of scope producer, with none."""

    service: Service
    admin: TestClient
    producer: TestClient
    stranger: TestClient


@contextmanager
def served(folder: Path, database_url: str, environ: Mapping[str, str] | None = None) -> Iterator[Api]:
    """A service on that database that wants keys."""
    told = {
        "DATABASE_URL": database_url,
        "BATCHMILL_HOME": str(folder / "home"),
        "BATCHMILL_KEYS_SECRET": SECRET,
        **(environ or {}),
    }
    service = make_service(load_settings(told, None), wants_keys=True)
    try:
        app = make_app(service)

        def client(headers: Mapping[str, Any]) -> TestClient:
            return TestClient(
                app, base_url="http://127.0.0.1:8400", headers=headers, raise_server_exceptions=False
            )

        def with_key(scope: Scope) -> TestClient:
            _, token = service.keyring.create(TENANT, scope)
            return client({"authorization": f"Bearer {token}"})

        yield Api(
            service=service,
            admin=with_key(Scope.ADMIN),
            producer=with_key(Scope.PRODUCER),
            stranger=client({}),
        )
    finally:
        service.close()

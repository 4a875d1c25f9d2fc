"""docker-compose.yml as its reader sees it, for a machine without Docker."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "docker-compose.yml"
OURS = "batchmill:0.1.0"
"""The image whose services are commands of ours."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeService:
    """A service, its variables filled in.

    Attributes:
        command: What follows the image's entrypoint.
        check: What its health check runs; empty = it has none.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    check: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it is a command of batchmill's."""
        return self.image == OURS


def compose_file() -> dict[str, Any]:
    """The file, its merges made."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return document


def services(variables: Mapping[str, str]) -> dict[str, ComposeService]:
    """All services, with these variables set.

    Raises:
        KeyError: One that the file cannot do without is not among them.
    """
    return {name: _service(name, raw, variables) for name, raw in compose_file()["services"].items()}


def _service(name: str, raw: Mapping[str, Any], variables: Mapping[str, str]) -> ComposeService:
    environment = raw.get("environment", {})
    check = raw.get("healthcheck", {}).get("test", [])
    return ComposeService(
        name=name,
        image=raw["image"],
        command=tuple(raw.get("command", ())),
        environment={key: filled_in(str(value), variables) for key, value in environment.items()},
        check=tuple(check[1:]),  # after the word CMD
        raw=raw,
    )


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """A value as Compose reads it: `${NAME}`, `${NAME:-default}`, `${NAME:?what to do}`."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if given or found["how"] == ":-":
            return given or found["rest"]
        raise KeyError(f"{found['name']}: {found['rest'] or 'not set'}")

    return _VARIABLE.sub(value, text)


def new_env() -> dict[str, str]:
    """What `deploy/new-env.sh` prints."""
    printed = subprocess.run(
        ["sh", REPOSITORY / "deploy" / "new-env.sh"], capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in printed.splitlines() if line and not line.startswith("#"))

"""The only reader of the environment.

Variables come from the environment, then from the file that BATCHMILL_SECRETS names, then from a `.env` file in the
working directory, then from the defaults. An empty value means "not set", and hides what later places say. Settings are
loaded once, at the start of a process, and passed in; a value that cannot be used stops the start.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from batchmill.errors import SettingsError
from batchmill.settings.dotenv import read_dotenv
from batchmill.settings.fields import accepted_by, variables_of
from batchmill.settings.groups import Settings, Source, leaves
from batchmill.settings.secrets_file import SECRETS_VARIABLE, exposure, read_secrets
from batchmill.settings.values import absolute_path, mask_url

DEBUG_VARIABLE = "BATCHMILL_DEBUG"

_PLACES = {
    Source.ENVIRONMENT: "the environment",
    Source.SECRETS: "the secrets file",
    Source.DOTENV: "the .env file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What was given for one setting, by which variable and from where."""

    field: FieldInfo
    variable: str
    text: str
    source: Source


def load_settings(
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
    *,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check every setting.

    Args:
        environ: The environment; None for that of the process.
        dotenv: File with further variables, which need not exist; None for no file.
        overrides: Variables that a command's own options set; they win.

    Raises:
        SettingsError: A value cannot be used, or a file is malformed, or the secrets file cannot be read.
    """
    environment = {**(os.environ if environ is None else environ), **(overrides or {})}
    beside = read_dotenv(dotenv) if dotenv else {}
    secrets_file = environment.get(SECRETS_VARIABLE, beside.get(SECRETS_VARIABLE, "")).strip()
    places = {
        Source.ENVIRONMENT: environment,
        Source.SECRETS: read_secrets(secrets_file) if secrets_file else {},
        Source.DOTENV: beside,
    }
    given = _gather(places)
    try:
        settings = Settings.model_validate(_nest(given))
    except ValidationError as error:
        raise _unusable(error, given) from None
    warning = exposure(secrets_file) if secrets_file else ""
    settings.note_sources({path: one.source for path, one in given.items()}, [warning] if warning else [])
    return settings


def is_debug(environ: Mapping[str, str] | None = None) -> bool:
    """Whether to show stack traces; apart from the settings, as it has to work when they do not load."""
    environment = os.environ if environ is None else environ
    return environment.get(DEBUG_VARIABLE, "") not in ("", "0")


def _gather(places: Mapping[Source, Mapping[str, str]]) -> dict[tuple[str, ...], _Given]:
    """What counts for each setting that is set; the first of the places that has a variable decides about it."""
    given = {}
    for path, field in leaves(Settings):
        for variable in variables_of(field):
            source = next((place for place, values in places.items() if variable in values), None)
            if source is not None and (text := places[source][variable].strip()):
                given[path] = _Given(field=field, variable=variable, text=text, source=source)
                break
    return given


def _nest(given: Mapping[tuple[str, ...], _Given]) -> dict[str, Any]:
    nested: dict[str, Any] = {path[0]: {} for path, _ in leaves(Settings) if len(path) > 1}
    for path, one in given.items():
        group = nested
        for name in path[:-1]:
            group = group[name]
        group[path[-1]] = one.text
    home = nested.setdefault("home", str(Settings.model_fields["home"].default))
    nested["database"].setdefault("url", f"sqlite:///{absolute_path(Path(home))}/batchmill.db")
    return nested


def _unusable(error: ValidationError, given: Mapping[tuple[str, ...], _Given]) -> SettingsError:
    faults = [(given[tuple(str(name) for name in fault["loc"])], fault) for fault in error.errors()]
    message = "; ".join(_fault(one, fault) for one, fault in faults)
    places = " and in ".join(dict.fromkeys(_PLACES[one.source] for one, _ in faults))
    return SettingsError(message, f"correct it in {places}")


def _fault(one: _Given, fault: ErrorDetails) -> str:
    is_secret = "SecretStr" in str(one.field.annotation) or one.source is Source.SECRETS
    shown = "is set" if is_secret else f'is "{mask_url(one.text)}"'
    reason = fault.get("ctx", {}).get("error", "")
    because = f" ({reason})" if reason else ""
    return f"{one.variable} {shown}{because}; it takes {accepted_by(one.field)}"

"""What a setting is made of: a default, its variables, a line of meaning, and what it accepts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from batchmill.budgets.limits import limit_nanos
from batchmill.errors import MisuseError
from batchmill.failpoints import parse as parse_failpoint
from batchmill.periods import zone_of
from batchmill.settings.values import MASK, absolute_path, base_url, header_value, known_scheme, mask_url


class Group(BaseModel):
    """Settings that belong together; a fault in one never shows its value by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def setting(default: Any, *variables: str, meaning: str, accepts: str, **options: Any) -> Any:
    """A field of a group; the first of its variables that is set counts."""
    about: JsonDict = {"variables": list(variables), "accepts": accepts}
    return Field(default, description=meaning, json_schema_extra=about, **options)


def whole(default: int, variable: str, meaning: str, *, least: int = 1, most: int) -> Any:
    accepts = f"a whole number from {least} to {most}"
    return setting(default, variable, meaning=meaning, accepts=accepts, ge=least, le=most)


def seconds(default: float, variable: str, meaning: str, *, least: float, most: float = 86_400.0) -> Any:
    accepts = f"seconds, from {least:g} to {most:g}"
    return setting(
        default, variable, meaning=meaning, accepts=accepts, ge=least, le=most, allow_inf_nan=False
    )


def choice(default: StrEnum, variable: str, meaning: str) -> Any:
    return setting(default, variable, meaning=meaning, accepts=" or ".join(type(default)))


def variables_of(field: FieldInfo) -> list[str]:
    """The variables that set a field, the one that counts most first."""
    return [str(name) for name in _about(field)["variables"]]


def accepted_by(field: FieldInfo) -> str:
    """What a field takes, for people."""
    return str(_about(field)["accepts"])


def _about(field: FieldInfo) -> dict[str, Any]:
    about = field.json_schema_extra
    assert isinstance(about, dict), "a setting that was not made by setting()"
    return about


def _folder(path: Path) -> Path:
    if "?" in str(absolute_path(path)):
        raise ValueError('a "?" in it would end the URL of the database inside')
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError("its name is not UTF-8") from None
    return absolute_path(path)


def _existing_file(path: Path) -> Path:
    if not absolute_path(path).is_file():
        raise ValueError("there is no such file")
    return absolute_path(path)


def _database_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg") and rest:
        return f"postgresql+psycopg://{rest}"
    if separator and scheme == "sqlite":
        if len(rest) < 2 or not rest.startswith("/") or rest == "/:memory:":
            raise ValueError("workers share the database, so it has to be a file")
        return url
    raise ValueError(f"{scheme} is not supported" if separator else "it is no URL")


def _broker_url(url: str) -> str:
    if url.startswith("unix://"):  # what redis-py calls it; kombu has a name of its own
        url = "redis+socket" + url.removeprefix("unix")
    return known_scheme(url, "redis", "rediss", "redis+socket", "amqp", "amqps")


def _header_secret(secret: SecretStr) -> SecretStr:
    header_value(secret.get_secret_value())
    return secret


def _store_url(url: str) -> str:
    _scheme, separator, rest = url.partition("://")
    if separator and not rest.strip("/"):
        raise ValueError("it names no bucket or folder")
    return url if separator else str(_folder(Path(url)))


def _key_pool(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys = [SecretStr(key.strip()) for key in value.split(",")]
    for key in keys:
        if not key.get_secret_value():
            raise ValueError("there is nothing between two of its commas, or beside one")
        header_value(key.get_secret_value())
    return tuple(dict.fromkeys(keys))


def _usd_limit(text: str) -> str:
    limit_nanos(text)
    return text


def _zone_name(name: str) -> str:
    try:
        zone_of(name)
    except MisuseError as error:
        raise ValueError(error.message) from None
    return name


def _failpoint(text: str) -> str:
    parse_failpoint(text)
    return text


def _lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


AbsolutePath = Annotated[Path, AfterValidator(absolute_path)]
Folder = Annotated[Path, AfterValidator(_folder)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
HttpUrl = Annotated[str, AfterValidator(base_url)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
ApiKeys = Annotated[tuple[SecretStr, ...], BeforeValidator(_key_pool)]
UsdLimit = Annotated[str, AfterValidator(_usd_limit)]
ZoneName = Annotated[str, AfterValidator(_zone_name)]
FailpointText = Annotated[str, AfterValidator(_failpoint)]
LowerCase = BeforeValidator(_lower_case)


def as_text(value: object) -> str | None:
    """A value as a variable of the environment would give it, secrets in the clear; None for one not set."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return ",".join(secret.get_secret_value() for secret in value) or None
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def masked(value: object) -> str | None:
    """The same for anyone's eyes: no secret, no password in a URL; of several secrets how many there are."""
    if isinstance(value, tuple):
        return ",".join(MASK for _ in value) or None
    if isinstance(value, SecretStr):
        return MASK
    text = as_text(value)
    return None if text is None else mask_url(text)

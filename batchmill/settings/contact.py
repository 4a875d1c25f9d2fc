"""What a producer has to know of the service, read in a few milliseconds: nothing here imports pydantic.

From the same places as all settings, in the same order: the environment, the file that BATCHMILL_SECRETS names, a
`.env` file in the working directory. An empty value means "not set", and hides what later places say.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchmill.errors import SettingsError
from batchmill.settings.dotenv import read_dotenv
from batchmill.settings.secrets_file import SECRETS_VARIABLE, read_secrets
from batchmill.settings.values import absolute_path, base_url, header_value, mask_url

BASE_URL_VARIABLE = "BATCHMILL_BASE_URL"
API_KEY_VARIABLE = "BATCHMILL_API_KEY"
HOME_VARIABLE = "BATCHMILL_HOME"
DEFAULT_HOME = "~/.batchmill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Where the service is, and what opens it.

    Attributes:
        base_url: None = the service of the home.
        api_key: None = none is shown.
        home: Folder of the embedded service.
    """

    base_url: str | None
    api_key: str | None = field(repr=False)
    home: Path


def load_contact(
    *,
    url: str | None = None,
    api_key: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
) -> Contact:
    """Read and check it.

    Args:
        url: In place of BATCHMILL_BASE_URL.
        api_key: In place of BATCHMILL_API_KEY.
        environ: The environment; None for that of the process.
        dotenv: File with further variables, which need not exist; None for no file.

    Raises:
        SettingsError: A value cannot be used, or a file is malformed, or the secrets file cannot be read.
    """
    environment = os.environ if environ is None else environ
    beside = read_dotenv(dotenv) if dotenv else {}
    secrets_file = environment.get(SECRETS_VARIABLE, beside.get(SECRETS_VARIABLE, "")).strip()
    places = (environment, read_secrets(secrets_file) if secrets_file else {}, beside)

    def said(variable: str) -> str:
        return next((place[variable].strip() for place in places if variable in place), "")

    return Contact(
        base_url=_address("base_url", url) if url else _address(BASE_URL_VARIABLE, said(BASE_URL_VARIABLE)),
        api_key=_key("api_key", api_key) if api_key else _key(API_KEY_VARIABLE, said(API_KEY_VARIABLE)),
        home=absolute_path(Path(said(HOME_VARIABLE) or DEFAULT_HOME)),
    )


def _address(name: str, url: str) -> str | None:
    """The URL of the service without `/v1`, which other clients want to be told."""
    if not url:
        return None
    try:
        return base_url(url).removesuffix("/v1")
    except ValueError as error:
        raise SettingsError(
            f'{name} is "{mask_url(url)}" ({error}); it takes http:// or https:// and a host',
            "write it as http://host:8400",
        ) from None


def _key(name: str, key: str) -> str | None:
    try:
        return header_value(key) or None
    except ValueError as error:
        raise SettingsError(f"{name} is set ({error})", "a key looks like bm-...") from None

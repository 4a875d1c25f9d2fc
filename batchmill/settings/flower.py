"""Flower, the page on workers and tasks: where it listens, and who may see it."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from batchmill.settings.fields import Group, HttpUrl, setting, whole
from batchmill.settings.values import LOCAL_HOSTS

_LOGINS = "user:password, comma between several; ASCII, no comma or space in them"
_EMAILS = "an address, several with | between, or .*@example.com"


class LoginProvider(StrEnum):
    """Who knows the people that may see it."""

    GOOGLE = "google"
    GITHUB = "github"
    GITLAB = "gitlab"


def _logins(secret: SecretStr) -> SecretStr:
    for login in secret.get_secret_value().split(","):
        user, colon, password = login.strip().partition(":")
        if not (user and colon and password):
            raise ValueError("one of them has no user, or no password")
        if not login.isascii() or not login.strip().isprintable() or " " in login.strip():
            raise ValueError("one of them has spaces, or characters that are not ASCII")
    return secret


def _emails(pattern: str) -> str:
    """As Flower reads it: a `*` only once, before the @, and not beside a |."""
    before, at, domain = pattern.rpartition("@")
    if not at or not before or not domain or " " in pattern:
        raise ValueError("it names no address")
    if pattern.count("*") > 1 or "*" in domain or ("*" in pattern and "|" in pattern):
        raise ValueError("one * is allowed, before the @, and then no |")
    if "*" in pattern and ".*" not in pattern:
        raise ValueError("any name is written .*")
    return pattern


Logins = Annotated[SecretStr, AfterValidator(_logins)]
Emails = Annotated[str, AfterValidator(_emails)]


class FlowerSettings(Group):
    """`batchmill flower`. Anywhere but on this machine it asks for a login: BATCHMILL_FLOWER_AUTH, or OAuth."""

    host: str = setting(
        "127.0.0.1",
        "BATCHMILL_FLOWER_HOST",
        meaning="Where Flower listens; anywhere but on this machine it wants a login.",
        accepts="an address or a name of this machine",
    )
    port: int = whole(
        5555, "BATCHMILL_FLOWER_PORT", "The port it listens on; 0 = a free one.", least=0, most=65_535
    )
    max_tasks: int = whole(
        10_000, "BATCHMILL_FLOWER_MAX_TASKS", "Tasks it remembers, the newest.", most=1_000_000
    )
    auth: Logins | None = setting(
        None, "BATCHMILL_FLOWER_AUTH", meaning="Who may see Flower.", accepts=_LOGINS, repr=False
    )
    oauth_provider: LoginProvider | None = setting(
        None,
        "BATCHMILL_FLOWER_OAUTH",
        meaning="Who knows the people that may see Flower, instead of BATCHMILL_FLOWER_AUTH.",
        accepts=" or ".join(LoginProvider),
    )
    oauth_key: str | None = setting(
        None, "BATCHMILL_FLOWER_OAUTH_KEY", meaning="The client ID there.", accepts="text"
    )
    oauth_secret: SecretStr | None = setting(
        None, "BATCHMILL_FLOWER_OAUTH_SECRET", meaning="The client secret there.", accepts="text", repr=False
    )
    oauth_redirect_uri: HttpUrl | None = setting(
        None,
        "BATCHMILL_FLOWER_OAUTH_REDIRECT_URI",
        meaning="Where people come back to from there.",
        accepts="the URL of Flower's /login, as registered there",
    )
    oauth_emails: Emails | None = setting(
        None, "BATCHMILL_FLOWER_OAUTH_EMAILS", meaning="Whose addresses are let in.", accepts=_EMAILS
    )

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return self.host in LOCAL_HOSTS

    @property
    def logins(self) -> list[str]:
        """Each user:password, in the clear."""
        return [login.strip() for login in self.auth.get_secret_value().split(",")] if self.auth else []

    @property
    def oauth_missing(self) -> str:
        """The variable that OAuth lacks; "" when it lacks none, or is not wanted."""
        if self.oauth_provider is None:
            return ""
        values = {
            "KEY": self.oauth_key,
            "SECRET": self.oauth_secret,
            "REDIRECT_URI": self.oauth_redirect_uri,
            "EMAILS": self.oauth_emails,
        }
        return next((f"BATCHMILL_FLOWER_OAUTH_{name}" for name, value in values.items() if not value), "")

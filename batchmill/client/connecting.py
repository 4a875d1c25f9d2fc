"""How a client gets to its service: by an address, or to that of the home, at its first call."""

from dataclasses import dataclass

from batchmill.errors import SettingsError
from batchmill.settings.contact import Contact, load_contact

DEFAULT_TIMEOUT_S = 600.0
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """What a client was told when it was made.

    Attributes:
        embedded: True: the service of the home, whatever address is set; False: never that one; None: where no address
            is set.
    """

    contact: Contact
    timeout_s: float
    max_retries: int
    embedded: bool | None

    @property
    def is_embedded(self) -> bool:
        """Whether it goes to the service of the home."""
        return self.embedded or (self.embedded is None and self.contact.base_url is None)

    def headers(self) -> dict[str, str]:
        """Those of every request."""
        headers = {"accept": "application/json", "user-agent": f"batchmill-client/{_version()}"}
        if self.contact.api_key:
            headers["authorization"] = f"Bearer {self.contact.api_key}"
        return headers

    def address(self) -> str:
        """Where the service is; that of the home is started if need be, which may take some seconds.

        Raises:
            SettingsError: No address is set, and the home's is not wanted.
            EmbeddedServiceError: The home's does not start.
        """
        if self.is_embedded:
            from batchmill.client.embedded import find_or_start

            return find_or_start(self.contact.home)
        if self.contact.base_url is None:
            raise SettingsError(
                "nothing says where the service is", "give the client base_url=..., or set BATCHMILL_BASE_URL"
            )
        return self.contact.base_url


def connecting(
    base_url: str | None, api_key: str | None, timeout_s: float, max_retries: int, embedded: bool | None
) -> Connecting:
    """What the client is told, and what is set from outside.

    Raises:
        SettingsError: An address or a key that cannot be one.
    """
    contact = load_contact(url=base_url, api_key=api_key)
    return Connecting(contact=contact, timeout_s=timeout_s, max_retries=max_retries, embedded=embedded)


def _version() -> str:
    from importlib.metadata import (  # here, as it would slow the import of the client down
        PackageNotFoundError,
        version,
    )

    try:
        return version("batchmill")
    except PackageNotFoundError:  # run from a checkout
        return "0"

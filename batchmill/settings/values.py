"""What settings hold, checked without pydantic, which takes longer to import than all of this to run."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

MASK = "***"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
"""This machine, as URLs name it."""

_PASSWORD_IN_URL = re.compile(r"(://[^:@/]*:).*@")
_PASSWORD_IN_QUERY = re.compile(
    r"([?&](?:password|sslpassword|(?:api[_-]?)?key|(?:access_)?token)=)[^&]*", re.IGNORECASE
)


def absolute_path(path: Path) -> Path:
    """The path from the root, `~` expanded, symbolic links left alone."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def http_url(url: str) -> str:
    """The URL, if it is one that calls can go to; a ValueError says what is wrong with it."""
    parts = urlsplit(known_scheme(url, "http", "https"))
    if not url.isprintable() or " " in url:
        raise ValueError("it has spaces, or characters that cannot be seen")
    if "@" in parts.netloc:
        raise ValueError("it holds a user or password; the key has a variable of its own")
    if not parts.hostname or parts.port == 0:  # .port raises a ValueError for what is no port at all
        raise ValueError("there is no host in it" if not parts.hostname else "0 is no port")
    if not can_be_looked_up(parts.hostname):
        raise ValueError("its host is no name that can be looked up")
    return url.rstrip("/")


def base_url(url: str) -> str:
    """The same for a URL that everybody may see: no key is in it."""
    address = http_url(url)
    if mask_url(address) != address:
        raise ValueError("it holds a key; the key has a variable of its own")
    return address


def can_be_looked_up(host: str | None) -> bool:
    """Whether a name server could be asked for it: no part of it is empty, or longer than 63 characters."""
    try:
        return host is not None and " " not in host and host.encode("idna") != b""
    except UnicodeError:
        return False


def known_scheme(url: str, *schemes: str) -> str:
    """The URL, if its scheme is one of these; a ValueError says what is wrong with it."""
    scheme, separator, rest = url.partition("://")
    if not separator or not rest.strip("/"):
        raise ValueError("it is no URL")
    if scheme not in schemes:
        raise ValueError(f"{scheme} is not supported")
    return url


def header_value(value: str) -> str:
    """The text, if an HTTP header may carry it; a ValueError says what is wrong, without showing it."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("it has spaces or characters that no HTTP header may carry; was it pasted whole?")
    return value


def mask_url(text: str) -> str:
    """A URL without its password; rather too much is masked than too little."""
    return _PASSWORD_IN_QUERY.sub(rf"\1{MASK}", _PASSWORD_IN_URL.sub(rf"\1{MASK}@", text))

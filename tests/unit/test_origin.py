"""Without keys: programs of this machine are answered, pages from elsewhere are not."""

import pytest

from api.origin import is_from_here

OURS = "localhost:8400"
LISTENS = "127.0.0.1"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        OURS,
        "LOCALHOST:8400",
        "localhost.:8400",
        "127.0.0.1:8400",
        "127.1.2.3",
        "[::1]:8400",
        "[::1]",
    ],
)
def test_programs_here_are_answered(host: str) -> None:
    """They call the service by a name of this machine and say no more of where they are from."""
    assert is_from_here({"host": host, "user-agent": "curl/8"}, LISTENS)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8400",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
        ),
        *(
            "192.168.1.7:8400",
            "0.0.0.0:8400",
            "[::]:8400",
            "2130706433",
            "",
            ":8400",
            "localhost:port",
            "[::1",
        ),
        *(
            "localhost@evil.example",
            "me@localhost",
            "localhost/evil",
            "localhost#",
            "127.0.0.1, evil.example",
        ),
    ],
)
def test_other_names_are_refused(host: str) -> None:
    """A name that is made to point here (DNS rebinding) is not one of this machine, nor is anything malformed."""
    assert not is_from_here({"host": host}, LISTENS)


def test_whoever_says_no_name_is_refused() -> None:
    """HTTP/1.0 may leave it out; nobody who needs this does."""
    assert not is_from_here({}, LISTENS)


@pytest.mark.parametrize(
    ("origin", "is_answered"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:8443", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost@evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("http://192.168.1.7", False),
        ("http://localhost:3000/path", False),
        ("ftp://localhost", False),
        ("chrome-extension://abcdefgh", False),
    ],
)
def test_a_page_is_answered_if_it_is_from_this_machine(origin: str, is_answered: bool) -> None:
    """A local dashboard is; a page from elsewhere, or one that hides where it is from, is not."""
    assert is_from_here({"host": OURS, "origin": origin}, LISTENS) is is_answered


@pytest.mark.parametrize(
    ("site", "is_answered"),
    [
        ("same-origin", True),
        ("same-site", True),
        ("none", True),
        ("cross-site", False),
        ("Cross-Site ", False),
    ],
)
def test_another_site_s_requests_without_origin_are_refused(site: str, is_answered: bool) -> None:
    """An image or a link on a page from elsewhere has no Origin; the browser says whose it is all the same."""
    assert is_from_here({"host": OURS, "sec-fetch-site": site}, LISTENS) is is_answered


@pytest.mark.parametrize(
    ("listens", "is_answered"),
    [("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False)],
)
def test_a_service_for_other_machines_answers_nobody(listens: str, is_answered: bool) -> None:
    """Whoever reaches it can write into the headers what he likes."""
    assert is_from_here({"host": OURS}, listens) is is_answered

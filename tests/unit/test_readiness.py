"""Readiness: what is wrong is named in bounded time, whatever hangs."""

import threading
from collections.abc import Callable

import pytest

from workers.serving.readiness import Readiness


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Seconds since whenever."""
        return self.now_s


def fine() -> None:
    """All is well."""


def failing(error: BaseException) -> Callable[[], None]:
    """A check that finds something wrong."""

    def check() -> None:
        raise error

    return check


def test_what_is_there_is_told() -> None:
    """Each by its name."""
    assert Readiness({"database": fine, "files": fine}).look() == {"database": True, "files": True}


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError("slow"), RuntimeError("odd"), SystemExit(1)])
def test_only_what_fails_is_named(error: BaseException) -> None:
    """Whatever a check raises, also what looks like our own patience, and the others are told all the same."""
    assert Readiness({"database": failing(error), "files": fine}).look() == {"database": False, "files": True}


def test_what_hangs_is_not_waited_for_and_not_begun_again() -> None:
    """One thread hangs, however often somebody asks; once it has ended, what it found counts, and the next is begun."""
    clock, release, begun = Clock(), threading.Event(), []

    def hang() -> None:
        begun.append(True)
        assert release.wait(60)

    readiness = Readiness({"broker": hang, "files": fine}, within_s=0.05, keep_s=1.0, monotonic=clock)
    for _ in range(3):
        assert readiness.look()["broker"] is False
        clock.now_s += 1.0
    assert len(begun) == 1
    release.set()
    for _ in range(1_000):
        clock.now_s += 1.0
        if readiness.look()["broker"]:
            break
    assert begun == [True]
    clock.now_s += 1.0
    readiness.look()
    assert begun == [True, True]


def test_a_look_is_told_again_for_a_while() -> None:
    """Anyone may ask as often as he likes: it costs a look every two seconds, and what has changed is seen then."""
    clock, looks = Clock(), []
    readiness = Readiness({"files": lambda: looks.append(True)}, keep_s=2.0, monotonic=clock)
    for now_s, expected in ((0.0, 1), (1.9, 1), (2.0, 2), (3.9, 2)):
        clock.now_s = now_s
        assert readiness.look() == {"files": True}
        assert len(looks) == expected

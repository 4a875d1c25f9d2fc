"""The lookout: all at once, in bounded time, whatever hangs or raises; and what a round of checks makes of it."""

import threading

from batchmill.errors import BrokerError
from batchmill.findings import Example, Finding, Level
from batchmill.health.course import HealthLevel, Observation
from tests.support.clocks import PATIENCE_S
from workers.health.look import LONGEST, look_at
from workers.lookout import Lookout


def fine() -> Finding:
    return Finding(check="any", level=Level.OK, message="all is well")


def seen(check: object, *, within_s: float = PATIENCE_S) -> Observation:
    """What one check shows."""
    [observation] = look_at({"broker": check}, Lookout(within_s=within_s))  # type: ignore[dict-item]
    return observation


def test_all_are_looked_at_at_once() -> None:
    """Each waits until all have begun: one after the other none would ever end."""
    together = threading.Barrier(3)

    def wait() -> Finding:
        together.wait(PATIENCE_S)
        return fine()

    found = look_at(dict.fromkeys("abc", wait), Lookout(within_s=PATIENCE_S))
    assert [one.level for one in found] == [HealthLevel.OK] * 3


def test_what_hangs_is_itself_a_finding_and_is_not_begun_again() -> None:
    """It is failing, and the others are told; what it finds long after is of another time, and does not count."""
    release, begun = threading.Event(), []

    def hang() -> Finding:
        begun.append(True)
        release.wait(PATIENCE_S)
        return Finding(check="any", level=Level.WARNING, message="as it was then")

    lookout: Lookout[Finding] = Lookout(within_s=0.1)
    for _ in range(2):
        broker, disk = look_at({"broker": hang, "disk": fine}, lookout)
        assert (broker.level, broker.message) == (HealthLevel.FAILING, "the check did not end within 0.1 s")
        assert disk.level is HealthLevel.OK
    assert len(begun) == 1
    [thread] = [one for one in threading.enumerate() if one.name == "look-broker"]
    release.set()
    thread.join(PATIENCE_S)
    lookout.within_s = PATIENCE_S
    [broker] = look_at({"broker": fine}, lookout)
    assert broker.level is HealthLevel.OK


def test_what_is_raised_is_a_finding() -> None:
    """Our own words are told; of what nobody foresaw only the kind, as it may hold a secret."""

    def away() -> Finding:
        raise BrokerError("the broker is away", "start it")

    def odd() -> Finding:
        raise RuntimeError("s3cret")

    assert (seen(away).level, seen(away).message, seen(away).hint) == (
        HealthLevel.FAILING,
        "the broker is away",
        "start it",
    )
    assert seen(odd).message == "the check failed: unexpected RuntimeError"


def test_a_finding_is_told_in_one_line() -> None:
    """With its places, without line ends, and not longer than a line of a table bears."""
    finding = Finding(
        check="any",
        level=Level.WARNING,
        message="two\nlie about",
        examples=(Example(detail="one"), Example(detail="x" * 2_000)),
    )
    told = seen(lambda: finding)
    assert told.level is HealthLevel.DEGRADED
    assert told.message.startswith("two lie about: one; xxx")
    assert len(told.message) == LONGEST

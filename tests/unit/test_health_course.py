"""The course of a component: when people are told that it is worse, or better, and what."""

import pytest

from batchmill.alerts.health import HealthAlert, HealthEvent, event_of, facts_of
from batchmill.alerts.message import Severity
from batchmill.alerts.webhook import body_of
from batchmill.health.course import HealthLevel, Observation, after, unheard_of

OK, DEGRADED, FAILING = HealthLevel
LEVELS = {".": OK, "d": DEGRADED, "f": FAILING}
NOW_MS, ROUND_MS = 1_800_000_000_000, 300_000


def told(checks: str) -> list[str]:
    """What people are told of these checks, one every five minutes: `2 failing`, for the third."""
    state, said = unheard_of("provider:openai", NOW_MS), []
    for nth, letter in enumerate(checks):
        seen = Observation(component="provider:openai", level=LEVELS[letter], message="so it is")
        now_ms = NOW_MS + nth * ROUND_MS
        before, state = state, after(state, seen, round_ms=now_ms, now_ms=now_ms)
        if event := event_of(before, state):
            said.append(f"{nth} {event}")
    return said


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ("....", []),
        (".f..d.", []),
        (".f.f.f", []),
        (".ff", ["2 failing"]),
        ("ff", ["1 failing"]),
        (".fffff", ["2 failing"]),
        (".ff.", ["2 failing", "3 recovered"]),
        (".fd", ["2 degraded"]),
        (".df", ["2 degraded"]),
        (".dff", ["2 degraded", "3 failing"]),
        (".ddfd.", ["2 degraded", "5 recovered"]),
        (".ffdd.", ["2 failing", "3 degraded", "5 recovered"]),
        (".ff.f.ff", ["2 failing", "3 recovered", "7 failing"]),
    ],
)
def test_as_bad_as_the_last_two_checks_have_shown_at_least(checks: str, expected: list[str]) -> None:
    """One bad check tells nothing, two in a row do, once; one good check tells that it is better."""
    assert told(checks) == expected


def test_how_long_it_lasted() -> None:
    """From the first check that was not ok, before anybody was told, to the one that is."""
    state = unheard_of("broker", NOW_MS)
    for nth, level in enumerate((OK, DEGRADED, FAILING, FAILING, OK)):
        seen, before = Observation(component="broker", level=level, message="m"), state
        now_ms = NOW_MS + nth * ROUND_MS
        state = after(before, seen, round_ms=now_ms, now_ms=now_ms)
    assert facts_of(before, state)["since_ms"] == NOW_MS + ROUND_MS
    assert (before.since_ms, before.ill_since_ms) == (NOW_MS + 2 * ROUND_MS, NOW_MS + ROUND_MS)
    assert (state.since_ms, state.ill_since_ms) == (NOW_MS + 4 * ROUND_MS, None)


def alert(kind: HealthEvent, **changes: object) -> HealthAlert:
    facts = {
        "previous_level": "ok",
        "since_ms": NOW_MS - ROUND_MS,
        "message": "it is\ngone",
        "hint": "start it",
    }
    return HealthAlert.read(7, kind, NOW_MS, "provider:openai", facts | changes)


@pytest.mark.parametrize(
    ("event", "verdict", "severity"),
    [
        (HealthEvent.DEGRADED, "provider openai is degraded: it is gone", Severity.WARNING),
        (HealthEvent.FAILING, "provider openai is failing: it is gone", Severity.CRITICAL),
        (HealthEvent.RECOVERED, "provider openai is well again after 5 min", Severity.INFO),
    ],
)
def test_the_verdict_is_one_line(event: HealthEvent, verdict: str, severity: Severity) -> None:
    """Which component, how it is, and why, whatever is in the message; or for how long it was not."""
    assert (alert(event).verdict, alert(event).severity) == (verdict, severity)


@pytest.mark.parametrize(
    ("lasted_ms", "words"),
    [(45_000, "45 s"), (119_999, "119 s"), (120_000, "2 min"), (11_400_000, "3 h 10 min")],
)
def test_how_long_is_told_as_people_say_it(lasted_ms: int, words: str) -> None:
    """Seconds, minutes, hours."""
    told = alert(HealthEvent.RECOVERED, since_ms=NOW_MS - lasted_ms)
    assert told.verdict.endswith(f"after {words}")


def test_programs_are_told_the_documented_way() -> None:
    """The type says what has become of it; the facts say of what, since when, for how long, and what to do."""
    assert body_of(alert(HealthEvent.RECOVERED, previous_level="failing", hint="").told()) == {
        "type": "health.recovered",
        "timestamp": "2027-01-15T08:00:00Z",
        "data": {
            "severity": "info",
            "verdict": "provider openai is well again after 5 min",
            "component": "provider:openai",
            "previous_level": "failing",
            "ill_since": "2027-01-15T07:55:00Z",
            "lasted_s": 300,
            "message": "it is\ngone",
            "hint": None,
        },
    }
    told = alert(HealthEvent.FAILING).told()
    assert (told.type, told.facts["lasted_s"], told.id) == (
        "health.failing",
        None,
        f"health-alert-7-{NOW_MS}",
    )


def test_the_text_says_what_to_do() -> None:
    """When, how it was, how it is, the hint, and where to see more."""
    assert alert(HealthEvent.FAILING).told().text == (
        "provider openai is failing: it is gone.\n"
        "\n"
        "when: 2027-01-15T08:00:00Z\n"
        "was:  ok, not well since 2027-01-15T07:55:00Z\n"
        "now:  it is gone\n"
        "\n"
        "start it\n"
        "`batchmill health` shows everything as last checked\n"
    )

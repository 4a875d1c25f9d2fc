"""A server's clock on ours."""

import random

import pytest

from batchmill.limits.clock import DECAY, ServerClock

AHEAD_S = 1_000.0


def exchange(
    clock: ServerClock, at_s: float, there_s: float, back_s: float, ahead_s: float = AHEAD_S
) -> None:
    """One message there and back; the server's clock is ahead of ours by so much."""
    server_us = round((at_s + there_s + ahead_s) * 1_000_000)
    clock.sample(sent_s=at_s, server_us=server_us, received_s=at_s + there_s + back_s)


def error_s(clock: ServerClock, at_s: float, ahead_s: float = AHEAD_S) -> float:
    """How far off a moment of the server's is taken to be."""
    local_s = clock.local_s(round((at_s + ahead_s) * 1_000_000))
    assert local_s is not None
    return abs(local_s - at_s)


def test_before_the_first_answer_nothing_is_known() -> None:
    """No moment can be mapped before the server has told the time."""
    clock = ServerClock()
    assert clock.local_s(1) is None
    assert clock.server_us(1.0) is None


def test_the_quickest_round_trip_counts() -> None:
    """A slow answer, late by a tenth of a second on its way back, moves nothing."""
    clock = ServerClock()
    exchange(clock, 10.0, 0.0005, 0.0005)
    exchange(clock, 11.0, 0.0005, 0.1)
    assert error_s(clock, 12.0) < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_any_error_is_within_half_the_quickest_round_trip(seed: int) -> None:
    """However unevenly messages take there and back, give or take the doubt of two seconds."""
    chance, clock, quickest_s = random.Random(seed), ServerClock(), 1.0
    for n in range(200):
        there_s, back_s = chance.expovariate(100), chance.expovariate(100)
        quickest_s = min(quickest_s, there_s + back_s)
        exchange(clock, n / 100, there_s, back_s)
    assert error_s(clock, 2.0) <= quickest_s / 2 + 2 * DECAY + 1e-5


def test_clocks_that_part_are_followed() -> None:
    """A server's clock that gains 100 ppm is not off by more than some milliseconds after an hour."""
    clock = ServerClock()
    for second in range(3_600):
        exchange(clock, float(second), 0.001, 0.001, AHEAD_S + second * 100e-6)
    assert error_s(clock, 3_600.0, AHEAD_S + 0.36) < 0.002


def test_both_ways_agree() -> None:
    """What is mapped to the server's clock and back is where it was."""
    clock = ServerClock()
    exchange(clock, 5.0, 0.001, 0.001)
    server_us = clock.server_us(7.25)
    assert server_us is not None
    assert clock.local_s(server_us) == pytest.approx(7.25, abs=1e-6)

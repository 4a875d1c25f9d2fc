"""Four worker processes against a provider with true sliding windows; the benchmark's part `quota`, scaled down."""

from pathlib import Path

import pytest

from tests.support.quota import use_up


@pytest.mark.parametrize("flush_after_s", [(), (6.0,)])
def test_no_call_is_refused(tmp_path: Path, flush_after_s: tuple[float, ...]) -> None:
    """The limits are used, and not a single call is one too many: each second is held to its part as well, and the
    broker may forget everything in the middle."""
    used = use_up(tmp_path, seconds=16.0, per_second=True, flush_after_s=flush_after_s)
    assert used.refused == 0
    assert used.percent >= (50 if flush_after_s else 75)


def test_limits_that_nobody_has_set_are_learned(tmp_path: Path) -> None:
    """From the first answers' headers: what left before them may be refused, and after that nothing is."""
    used = use_up(tmp_path, seconds=16.0, are_set=False)
    assert used.refused_late == 0
    assert used.percent >= 60

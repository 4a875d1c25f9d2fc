"""The path of a request: what is kept of it, however long it gets."""

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from batchmill.routing.names import Target
from batchmill.routing.path import (
    FIRST_STEPS,
    LONGEST_WHY,
    MOST_STEPS,
    Path,
    Step,
    What,
    dump_path,
    load_path,
)

TARGET = Target(provider="openai", model="gpt-4o")
steps = st.builds(
    Step,
    target=st.sampled_from([TARGET, Target(provider="local", model="llama3.3")]),
    what=st.sampled_from(What),
    why=st.sampled_from(["", "500", "x" * (LONGEST_WHY + 1)]),
    at_ms=st.integers(0, 2**53),
)


def step(why: str, at_ms: int = 0, what: What = What.TRIED) -> Step:
    return Step(target=TARGET, what=what, why=why, at_ms=at_ms)


def walked(*taken: Step) -> Path:
    path = Path()
    for one in taken:
        path = path.added(one)
    return path


def test_a_step_repeated_in_a_row_is_counted() -> None:
    """It keeps the time of the first."""
    path = walked(step("500", 1), step("500", 2), step("500", 3), step("429", 4))
    assert [(one.why, one.at_ms, one.count) for one in path.steps] == [("500", 1, 3), ("429", 4, 1)]


def test_what_is_not_equal_is_not_merged() -> None:
    """Neither another thing that happened, nor the same after something else."""
    path = walked(step("a"), step("a", what=What.SKIPPED), step("a"))
    assert [one.count for one in path.steps] == [1, 1, 1]


def test_of_a_long_path_its_beginning_and_its_end_stay() -> None:
    """The oldest of the middle go, and how many is told."""
    path = walked(*(step(str(number)) for number in range(30)))
    kept = [*range(FIRST_STEPS), *range(30 - MOST_STEPS + FIRST_STEPS, 30)]
    assert [one.why for one in path.steps] == [str(number) for number in kept]
    assert path.dropped == 30 - MOST_STEPS


def test_a_repeated_step_that_is_dropped() -> None:
    """It counts as many times as it was made."""
    first = [step(str(number)) for number in range(FIRST_STEPS)]
    rest = [step(f"later {number}") for number in range(MOST_STEPS - FIRST_STEPS)]
    assert walked(*first, step("500"), step("500"), *rest).dropped == 2


def test_a_request_that_went_straight() -> None:
    """One without steps is an empty text."""
    assert dump_path(Path()) == ""
    assert load_path("") == Path()


def test_a_long_reason_is_cut() -> None:
    """A path stays small whatever a provider says."""
    (kept,) = walked(step("x" * 10_000)).steps
    assert (len(kept.why), kept.why[-1]) == (LONGEST_WHY, "…")


@given(st.lists(steps, max_size=60))
def test_no_step_is_lost_uncounted(taken: list[Step]) -> None:
    """However long it gets, it is bounded, and every step is in it or counted as dropped; the last is its last, or one
    of the skips at its end."""
    path = walked(*taken)
    assert len(path.steps) <= MOST_STEPS
    assert sum(one.count for one in path.steps) + path.dropped == len(taken)
    if taken:
        skipped = list(takewhile(lambda one: one.what is What.SKIPPED, reversed(path.steps)))
        ends = [(one.target, one.what) for one in skipped or path.steps[-1:]]
        assert (taken[-1].target, taken[-1].what) in ends


@given(st.lists(steps, max_size=30))
def test_what_is_kept_is_read_back(taken: list[Step]) -> None:
    """And goes on from there as if it had not been away."""
    path = walked(*taken)
    assert load_path(dump_path(path)) == path
    assert load_path(dump_path(path)).added(step("more")) == path.added(step("more"))

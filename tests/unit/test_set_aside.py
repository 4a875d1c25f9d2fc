"""Setting aside: a call without room in a budget need not stop its batch, while others of it may still fit."""

from batchmill.budgets.aside import LEAST_MS, MOST_IN_A_ROW, MOST_TRIES_IN_USE, SetAside
from batchmill.requests.model import CacheMode, Endpoint, Lane, OnUnknown
from batchmill.requests.work import Attempt, BatchFacts, Job, Why, Withheld

BATCH = BatchFacts(
    id=1,
    public_id="batch_1",
    lane=Lane.NORMAL,
    endpoint=Endpoint.CHAT,
    tenant="local",
    user="",
    agent="",
    request_type="",
    cache=CacheMode.AUTO,
    on_unknown=OnUnknown.RETRY,
    started_ms=0,
)


def fitted(request: int, nanos: int) -> Attempt:
    job = Job(request_id=request, batch=BATCH, claim_id=1, cache_key=None)
    return Attempt(id=request, job=job, number=1, provider="openai", model="m", held_nanos=nanos)


def without_room(nanos: int | None, *, is_of_some_lines: bool = False, is_in_use: bool = False) -> Withheld:
    return Withheld(
        why=Why.EXHAUSTED, needs_nanos=nanos, is_of_some_lines=is_of_some_lines, is_in_use=is_in_use
    )


def test_calls_of_one_size_let_the_batch_wait_at_once() -> None:
    """What did not fit as large as it is will not fit for the next one either."""
    aside = SetAside()
    aside.note(fitted(1, 1_000))
    assert aside.delay_ms(1, 2, without_room(1_000)) is None


def test_a_larger_one_is_set_aside_while_others_fit() -> None:
    """One long document does not stop the short ones; tried again and again it does, once none fits any more."""
    aside = SetAside()
    aside.note(fitted(1, 1_000))
    first = aside.delay_ms(1, 2, without_room(5_000))
    assert first is not None
    assert first >= LEAST_MS
    aside.note(fitted(3, 1_000))
    assert aside.delay_ms(1, 2, without_room(5_000)) is not None
    assert aside.delay_ms(1, 2, without_room(5_000)) is not None
    assert aside.delay_ms(1, 2, without_room(5_000)) is None


def test_a_larger_one_is_the_first_to_be_tried_after_a_wait() -> None:
    """Where a batch goes on after it has waited, none can have fitted since the large one was last tried: it does not
    stop the batch again before the others have had their turn."""
    aside = SetAside()
    aside.note(fitted(1, 1_000))
    assert aside.delay_ms(1, 2, without_room(1_000)) is None
    assert aside.delay_ms(1, 3, without_room(5_000)) is not None  # was on its way as the batch began to wait
    assert aside.delay_ms(1, 3, without_room(5_000)) is not None  # a day later
    aside.note(fitted(2, 1_000))
    assert aside.delay_ms(1, 3, without_room(5_000)) is not None


def test_others_wait_for_calls_in_flight() -> None:
    """While others of the batch wait for calls in flight, none may have fitted only because these take long, however
    often the large ones are tried meanwhile; once nothing moves any more that tells."""
    aside = SetAside()
    aside.note(fitted(1, 1_000))
    large = range(2, MOST_IN_A_ROW)
    for _ in range(2 * MOST_TRIES_IN_USE):
        aside.note_waiting(1)
        assert all(aside.delay_ms(1, request, without_room(5_000, is_in_use=True)) for request in large)
    assert aside.delay_ms(1, 2, without_room(5_000)) is not None
    assert aside.delay_ms(1, 2, without_room(5_000)) is None


def test_calls_of_other_batches_are_not_waited_for_without_end() -> None:
    """A budget that others use all the time does not keep a batch from being told to wait, with nothing left but what
    does not fit."""
    aside = SetAside()
    aside.note(fitted(1, 1_000))
    said = [aside.delay_ms(1, 2, without_room(5_000, is_in_use=True)) for _ in range(1 + MOST_TRIES_IN_USE)]
    assert None not in said[:-1]
    assert said[-1] is None


def test_nothing_ever_fitted() -> None:
    """Before any call has fitted nobody knows whether others are smaller: some are tried, none of them for ever."""
    aside = SetAside()
    said = [aside.delay_ms(1, request, without_room(5_000)) for request in range(MOST_IN_A_ROW + 1)]
    assert None not in said[:-1]
    assert said[-1] is None
    again = [aside.delay_ms(1, 1, without_room(5_000)) for _ in range(3)]
    assert [delay is None for delay in again] == [False, False, True]


def test_no_price_lets_the_batch_wait_at_once() -> None:
    """How much room would be enough is not known."""
    assert SetAside().delay_ms(1, 2, without_room(None)) is None


def test_a_budget_of_a_model_does_not_stop_the_others() -> None:
    """Where the budget covers only some lines, the others are given a chance; not for ever."""
    aside = SetAside()
    said = [
        aside.delay_ms(1, request, without_room(1_000, is_of_some_lines=True))
        for request in range(MOST_IN_A_ROW + 1)
    ]
    assert None not in said[:-1]
    assert said[-1] is None


def test_the_more_are_aside_the_longer_they_stay() -> None:
    """Trying them again must not become the work."""
    aside = SetAside()
    delays = []
    for request in range(0, 2_000, 2):
        aside.note(fitted(request, 1_000))
        delays.append(aside.delay_ms(1, request + 1, without_room(9_000)) or 0)
    assert delays == sorted(delays)
    assert delays[-1] > 5 * delays[0]

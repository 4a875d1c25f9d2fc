"""Quotes: sums, expectations and verdicts."""

import multiprocessing
import pickle
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.cache.lines import LineKeys
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.errors import BatchmillError
from batchmill.money.bounds import Bounds, Model
from batchmill.money.owner_prices import parse_owner_prices
from batchmill.money.prices import Pricer
from batchmill.money.rates import Unpriced
from batchmill.money.usage import Usage
from batchmill.quotes.crew import ALONE, Crew
from batchmill.quotes.destinations import Destinations, Placed
from batchmill.quotes.duration import Load, Pace
from batchmill.quotes.forecast import Basis, Experience, Experiences, Forecast, Forecaster
from batchmill.quotes.quote import Verdict, compile_quote, verdict
from batchmill.quotes.seen import Seen
from batchmill.quotes.survey import CHUNK, Survey
from batchmill.quotes.tally import Question, Tallies, Tally, Teller
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, LineError, RequestLine
from batchmill.requests.names import Names, duplicates
from batchmill.routing.addressing import Addressing, Check
from batchmill.routing.names import Target, parse_target
from batchmill.routing.outlook import Outlook
from batchmill.routing.upstreams import NOWHERE
from batchmill.routing.wants import Wants, dump_wants
from batchmill.tokens.count import count_request

OWN = parse_owner_prices(
    {
        "openai/own": {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2", "usd_per_request": "0.5"},
        "openai/other": {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2"},
        "openai/input-only": {"input_usd_per_mtok": "1"},
        "anthropic/other": {"input_usd_per_mtok": "10", "output_usd_per_mtok": "20"},
    }
)
PRICER = Pricer(OWN)
NO_EXPERIENCE = Forecaster(experiences={}, latencies_ms={})
TELLER = Teller(
    bounds=Bounds(PRICER, output_cap_tokens=1_000),
    pricer=PRICER,
    forecaster=NO_EXPERIENCE,
)
OUTLOOK = Outlook(PRICER, providers={"openai", "anthropic"}, endpoints={}, now_ms=lambda: 0)
OURS = Target(provider="openai", model="other")
THEIRS = Target(provider="anthropic", model="other")


def ours(model: str) -> Target:
    return Target(provider="openai", model=model)


def entry(target: Target, **fields: Any) -> ModelEntry:
    """One that is good enough for anything."""
    return ModelEntry(provider=target.provider, model=target.model, tier=Tier.NORMAL, quality=1.0, **fields)


def destinations(
    models: Sequence[ModelEntry],
    resting: Mapping[Model, int] | None = None,
    addressing: Addressing | None = None,
) -> Destinations:
    """Those of a batch without wishes."""
    outlook = Outlook(
        PRICER,
        providers={"openai", "anthropic"},
        endpoints={},
        now_ms=lambda: 0,
        open_circuits=lambda: resting or {},
    )
    return Destinations(BatchOptions(), addressing=addressing or Addressing(), models=models, outlook=outlook)


def goes_to(placed: Placed | LineError) -> tuple[Model, tuple[Model, ...]]:
    """Where a line goes, and where it may go instead."""
    assert isinstance(placed, Placed), placed
    return (placed.asked.provider, placed.asked.model), placed.others


def line(text: str = "What is a mill?", *, nth: int = 1, request_type: str = "", **body: Any) -> RequestLine:
    messages = [{"role": "user", "content": text}]
    asked = {"model": "gpt-4o", "temperature": 0, "max_tokens": 100, "messages": messages} | body
    return RequestLine(nth, f"line-{nth}", Endpoint.CHAT, asked["model"], asked, request_type)


def surveyed(
    *lines: RequestLine,
    experiences: Experiences | None = None,
    hits: Collection[str] | None = None,
    as_model: str = "",
    processes: int = 1,
    before_fork: Callable[[], None] = lambda: None,
    models: Sequence[ModelEntry] = (),
    **options: Any,
) -> Tallies:
    """What lines add up to; `hits` None has the cache answer everything."""
    forecaster = Forecaster(experiences=experiences or {}, latencies_ms={})
    teller = Teller(bounds=Bounds(PRICER, output_cap_tokens=1_000), pricer=PRICER, forecaster=forecaster)
    crew = Crew(teller, processes=processes, before_fork=before_fork)
    as_target = parse_target(as_model, default_provider="openai") if as_model else None
    destinations = Destinations(
        BatchOptions(**options), addressing=Addressing(), models=models, outlook=OUTLOOK, as_target=as_target
    )
    survey = Survey(
        BatchOptions(**options),
        crew=crew,
        find_hits=lambda keys: keys if hits is None else hits,
        keys=LineKeys(BatchOptions(**options), NOWHERE),
        destinations=destinations,
    )
    with crew.working():
        for each in lines:
            placed = survey.place(each)
            assert isinstance(placed, Placed)
            survey.add(placed)
        survey.flush()
    return crew.tallies


def test_a_tally_is_the_price_of_its_calls() -> None:
    """Expected: the counted input and the expected output; at most: the output in full."""
    given = [line("one", n=2), line("two words")]
    tokens = sum(count_request("gpt-4o", Endpoint.CHAT, each.body).tokens for each in given)
    ((kind, tally),) = surveyed(*given, hits=()).items()
    assert kind == ("openai", "gpt-4o", "")
    assert (tally.lines, tally.calls, tally.input_tokens, tally.is_exact) == (2, 2, tokens, True)
    assert tally.output_tokens == 100 + 50  # half of what they may give out
    assert (
        tally.expected_nanos
        == PRICER.price(
            provider="openai", model="gpt-4o", usage=Usage(input_tokens=tokens, output_tokens=150)
        ).nanos
    )
    assert (
        tally.most_nanos
        == PRICER.price(
            provider="openai", model="gpt-4o", usage=Usage(input_tokens=tokens, output_tokens=300)
        ).nanos
    )


def test_hits_and_repeats_cost_nothing_but_may() -> None:
    """Neither is in the expected cost; at worst each of them is called."""
    same = [line(nth=nth) for nth in range(1, 4)]
    (alone,) = surveyed(same[0], hits=()).values()
    (repeated,) = surveyed(*same, hits=()).values()
    (cached,) = surveyed(*same, hits=None).values()
    assert (repeated.hits, repeated.repeats, repeated.calls) == (0, 2, 1)
    assert (cached.hits, cached.repeats, cached.calls) == (3, 0, 0)
    assert (repeated.expected_nanos, cached.expected_nanos) == (alone.expected_nanos, 0)
    assert repeated.most_nanos == cached.most_nanos == 3 * alone.most_nanos
    assert repeated.input_tokens == cached.input_tokens == 3 * alone.input_tokens


@pytest.mark.parametrize(
    ("options", "body", "hits", "repeats"),
    [
        ({"cache": CacheMode.OFF}, {}, 0, 0),
        ({"cache": CacheMode.REFRESH}, {}, 0, 1),
        ({"cache": CacheMode.AUTO}, {"temperature": 1}, 0, 0),
        ({"cache": CacheMode.ON}, {"temperature": 1}, 2, 0),
    ],
)
def test_the_cache_mode_counts(
    options: dict[str, Any], body: dict[str, Any], hits: int, repeats: int
) -> None:
    """What may share an answer is as the batch has it; `refresh` takes none that was given before."""
    (tally,) = surveyed(line(**body), line(nth=2, **body), **options).values()
    assert (tally.hits, tally.repeats) == (hits, repeats)


def test_models_and_types_are_apart() -> None:
    """Each has its own tally; a line's own type goes before its batch's."""
    tallies = surveyed(line(model="own"), line(request_type="trend"), line(), hits=(), request_type="churn")
    assert list(tallies) == [
        ("openai", "own", "churn"),
        ("openai", "gpt-4o", "trend"),
        ("openai", "gpt-4o", "churn"),
    ]


def test_one_model_of_two_providers_is_two_models() -> None:
    """Each is counted and priced as its own provider's, and repeats nothing of the other."""
    tallies = surveyed(line(model="other"), line(model="anthropic/other"), hits=())
    assert list(tallies) == [("openai", "other", ""), ("anthropic", "other", "")]
    ours, theirs = tallies.values()
    assert (ours.repeats, theirs.repeats) == (0, 0)
    assert theirs.expected_units == 10 * ours.expected_units


def test_at_most_is_the_dearest_of_whom_may_be_asked() -> None:
    """A line may go to its fallbacks; what is expected goes by the model that it asks for."""
    alone, dear = surveyed(line(model="other"), line(model="anthropic/other"), hits=()).values()
    falling = line(model="other")._replace(routing=dump_wants(Wants(fallback=(THEIRS, OURS))))
    (tally,) = surveyed(falling, hits=()).values()
    assert tally.expected_nanos == alone.expected_nanos
    assert tally.most_nanos == dear.most_nanos > alone.most_nanos
    assert tally.most_nanos_by_other == {THEIRS.key: dear.most_nanos}


def test_a_fallback_without_a_price_is_told() -> None:
    """The line keeps its price; what its fallback costs is in no sum, and each such line is counted."""
    (alone,) = surveyed(line(model="other"), hits=()).values()
    wants = Wants(fallback=(Target(provider="local", model="made-up"),))
    (tally,) = surveyed(line(model="other")._replace(routing=dump_wants(wants)), hits=()).values()
    assert (tally.unpriced, tally.unpriced_others) == (0, 1)
    assert (tally.expected_nanos, tally.most_nanos) == (alone.expected_nanos, alone.most_nanos)


@pytest.mark.parametrize(
    ("asks", "batch", "catalogue", "other"),
    [
        (True, True, True, "own"),
        (False, True, True, "gpt-4o-mini"),
        (False, False, True, "gpt-4o"),
        (False, False, False, None),
    ],
)
def test_a_lines_own_fallbacks_go_before_its_batchs_and_the_catalogues(
    asks: bool, batch: bool, catalogue: bool, other: str | None
) -> None:
    """As the router has it: the first that names anybody counts, alone."""
    models = [entry(OURS, fallback=(ours("gpt-4o"),))] if catalogue else []
    of_batch = dump_wants(Wants(fallback=(ours("gpt-4o-mini"),))) if batch else ""
    own = dump_wants(Wants(fallback=(ours("own"),))) if asks else ""
    (tally,) = surveyed(
        line(model="other")._replace(routing=own), hits=(), models=models, routing=of_batch
    ).values()
    assert list(tally.most_nanos_by_other) == ([("openai", other)] if other else [])


def test_a_line_for_any_model_is_one_of_its_choice() -> None:
    """It is tallied and priced as the line that names the choice, and at most as the dearest candidate."""
    models = [entry(OURS), entry(THEIRS)]
    (named,) = surveyed(line(model="other"), hits=()).values()
    (dear,) = surveyed(line(model="anthropic/other"), hits=()).values()
    ((kind, tally),) = surveyed(line(model="auto"), hits=(), models=models).items()
    assert kind == ("openai", "other", "")
    assert (tally.input_tokens, tally.expected_nanos) == (named.input_tokens, named.expected_nanos)
    assert tally.most_nanos == dear.most_nanos


def test_a_line_for_any_model_takes_what_its_choice_has_said() -> None:
    """An answer to the same question that names the choice is one to it; one of a mere candidate is none."""
    models = [entry(OURS), entry(THEIRS)]
    keys = LineKeys(BatchOptions(), NOWHERE)
    for model, hits in (("openai/other", 1), ("anthropic/other", 0)):
        named = Addressing().address(line(model=model))
        assert isinstance(named, RequestLine)
        known = keys.key(named)
        assert known is not None
        (tally,) = surveyed(line(model="auto"), hits={known.hex()}, models=models).values()
        assert tally.hits == hits


def test_an_unusable_catalogue_makes_lines_for_any_model_bad() -> None:
    """The line is told with the selection's own words; nothing is thrown."""
    placed = destinations(models=[entry(Target(provider="gemini", model="m"))]).place(
        line(nth=7, model="auto")
    )
    assert isinstance(placed, LineError)
    assert (placed.line, placed.code, placed.param) == (7, "no_model_fits", "body.model")
    assert "gemini has no key or address here" in placed.message


def test_a_model_that_rests_may_be_asked_later() -> None:
    """It is not the choice but counts at most; where all rest, the line would wait for the best of them."""
    models = [entry(OURS), entry(THEIRS)]
    ours_rests = destinations(models=models, resting={OURS.key: 1_000}).place(line(model="auto"))
    all_rest = destinations(models=models, resting=dict.fromkeys((OURS.key, THEIRS.key), 1_000)).place(
        line(model="auto")
    )
    assert goes_to(ours_rests) == (THEIRS.key, (OURS.key,))
    assert goes_to(all_rest) == (OURS.key, (THEIRS.key,))


def test_who_cannot_be_asked_just_this_is_not_the_choice() -> None:
    """A provider's own rules keep a line from it; where none is left, each says why."""
    models = [entry(OURS), entry(THEIRS)]
    checks: dict[str, Check] = {"openai": lambda *_: ("n", "n is too much")}
    placing = destinations(models, addressing=Addressing(checks))
    assert goes_to(placing.place(line(model="auto"))) == (THEIRS.key, (OURS.key,))
    checks["anthropic"] = lambda *_: ("n", "never")
    refused = destinations(models, addressing=Addressing(checks)).place(line(model="auto"))
    assert isinstance(refused, LineError)
    assert (refused.code, refused.param) == ("no_model_left", "body.model")
    assert "openai/other: n is too much; anthropic/other: never" in refused.message
    assert "Name another model" in refused.message


def test_equal_questions_are_chosen_for_once_and_others_anew() -> None:
    """What is remembered goes by all that counts: a longer text may be too long for the cheap one."""
    small = entry(OURS, context_tokens=1_000)
    placing = destinations(models=[small, entry(THEIRS)])
    found = [placing.place(line(text, model="auto")) for text in ("hi", "ho", "hi " * 2_000, "hi")]
    assert [goes_to(one)[0] for one in found] == [OURS.key, OURS.key, THEIRS.key, OURS.key]


def test_another_model_is_another_question() -> None:
    """Quoted as if it asked another model, a file is counted and priced by that one."""
    (tally,) = surveyed(line(), line(nth=2, model="other"), as_model="own", hits=()).values()
    assert (tally.lines, tally.repeats, tally.is_exact) == (2, 1, False)
    assert tally.expected_nanos > 500_000_000


@pytest.mark.parametrize(
    ("model", "reason"), [("nobody-has-it", Unpriced.UNKNOWN_MODEL), ("input-only", Unpriced.UNPRICED_TOKENS)]
)
def test_what_has_no_price_is_not_free(model: str, reason: Unpriced) -> None:
    """It is counted apart, with its reason, and is in neither sum."""
    tallies = surveyed(line(model=model), hits=())
    (tally,) = tallies.values()
    assert (tally.unpriced, tally.reason) == (1, reason)
    assert (tally.expected_nanos, tally.most_nanos) == (0, 0)


@pytest.mark.parametrize(
    "asked",
    [
        line("\U00012000\U00012345" * 500, model="own", max_tokens=0),  # a token a byte, and a factor on top
        line(model="own", n="9" * 30),
    ],
)
def test_no_more_is_expected_than_what_it_can_cost(asked: RequestLine) -> None:
    """Also where tokens are estimated, and high; and a number of answers that is none is no number of tokens."""
    (tally,) = surveyed(asked, hits=()).values()
    assert tally.expected_nanos <= tally.most_nanos
    assert tally.output_tokens < 2**63  # as JSON has it


def test_a_long_prompt_is_expected_at_its_tier() -> None:
    """gpt-5.4 doubles its price beyond 272,000 tokens."""
    (tally,) = surveyed(line("word " * 280_000, model="gpt-5.4", max_tokens=10), hits=()).values()
    assert tally.expected_units // 10**15 == tally.input_tokens * 5_000 + 5 * 22_500


def test_several_processes_tally_the_same() -> None:
    """However the lines are spread, they add up to the same; connections are closed before the processes part."""
    closed: list[int] = []
    lines = [
        line(f"question {nth % 7_000}", nth=nth, model="gpt-4o" if nth % 3 else "own")
        for nth in range(5 * CHUNK)
    ]
    parted = surveyed(*lines, hits=(), processes=2, before_fork=lambda: closed.append(1))
    assert (parted, closed) == (surveyed(*lines, hits=()), [1])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_quote(victim: int) -> None:
    """It is told and none is left, also when the one that was about to take the next chunk is killed."""
    crew = Crew(TELLER, processes=2)
    with pytest.raises(BatchmillError, match="was killed"):
        _keep_busy(crew, victim)
    assert multiprocessing.active_children() == []


def _keep_busy(crew: Crew, victim: int) -> None:
    chunk = [Question("openai", "gpt-4o", "", Endpoint.CHAT, orjson.dumps(line().body), False, False)]
    with crew.working():
        for _ in range(ALONE + 1):
            crew.tally(chunk)
        crew._gather(0)  # both wait now, one of them with the lock of the queue
        sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0)[victim].kill()
        while True:
            crew.tally(chunk)


EXPERIENCE = Experience(calls=10, output_tokens=30, latency_ms=200)
LITTLE = Experience(calls=9, output_tokens=1, latency_ms=1)


@pytest.mark.parametrize(
    ("experiences", "output_tokens", "latency_ms", "basis"),
    [
        ({("openai", "m", "t"): EXPERIENCE, ("openai", "m", None): LITTLE}, 30, 200, Basis.HISTORY),
        ({("openai", "m", "t"): LITTLE, ("openai", "m", None): EXPERIENCE}, 30, 200, Basis.HISTORY),
        ({("openai", "m", "t"): LITTLE, ("openai", "m", None): LITTLE}, None, 900, Basis.CATALOGUE),
        ({("openai", "other", None): EXPERIENCE}, None, 900, Basis.CATALOGUE),
    ],
)
def test_experience_goes_before_estimates(
    experiences: Experiences, output_tokens: int | None, latency_ms: int, basis: Basis
) -> None:
    """That with the type, then that with the model, then the catalogue; a few calls are no experience."""
    forecaster = Forecaster(experiences=experiences, latencies_ms={("openai", "m"): 900})
    found = forecaster.forecast("openai", "m", "t")
    assert (found.output_tokens, found.latency_ms, found.latency_basis) == (output_tokens, latency_ms, basis)


@pytest.mark.parametrize(
    ("known", "most", "answers", "expected"),
    [
        (None, 100, 1, 50),
        (None, 100_000, 1, 500),
        (None, 100_000, 3, 1_500),
        (30, 100, 1, 30),
        (300, 100, 1, 100),
    ],
)
def test_no_more_is_expected_than_is_allowed(
    known: int | None, most: int, answers: int, expected: int
) -> None:
    """By experience, or half of what is allowed and at most 500 tokens an answer."""
    assert Forecast(output_tokens=known).expected_output(most, answers) == expected


@pytest.mark.parametrize(
    ("pace", "latency_ms", "duration_s"),
    [
        (Pace(concurrency=10), 500, 50.0),
        (Pace(concurrency=5_000), 500, 0.5),  # no sooner than one call
        (Pace(concurrency=10, requests_per_min=600), 500, 100.0),
        (Pace(concurrency=10, tokens_per_min=6_000), 500, 1_000.0),
        (Pace(concurrency=10, requests_per_min=6_000), None, 10.0),
        (Pace(concurrency=10), None, None),
    ],
)
def test_the_tightest_limit_counts(pace: Pace, latency_ms: int | None, duration_s: float | None) -> None:
    """A thousand calls of a hundred tokens, by what is known to hold them up."""
    load = Load()
    load.add(calls=1_000, tokens=100_000, latency_ms=latency_ms)
    assert load.duration_s(pace) == duration_s


def test_what_is_answered_already_takes_no_time() -> None:
    """Without a call nothing has to be known about calls."""
    tallies = surveyed(line())
    found = compile_quote(tallies, forecaster=NO_EXPERIENCE, pace=Pace(concurrency=1))
    assert found.duration_s == 0.0


def test_one_model_that_nobody_knows_leaves_the_whole_unknown() -> None:
    """The total takes as long as its parts together, and is not known when one of them is not."""
    tallies = surveyed(line(), line(model="own"), hits=())
    pace, known = Pace(concurrency=1), {("openai", "gpt-4o"): 300, ("openai", "own"): 700}
    both = compile_quote(tallies, forecaster=Forecaster(experiences={}, latencies_ms=known), pace=pace)
    del known["openai", "own"]
    one = compile_quote(tallies, forecaster=Forecaster(experiences={}, latencies_ms=known), pace=pace)
    assert (both.duration_s, [model.duration_s for model in both.models]) == (1.0, [0.3, 0.7])
    assert (one.duration_s, [model.duration_s for model in one.models]) == (None, [0.3, None])


@pytest.mark.parametrize(
    ("left_nanos", "unpriced", "allows", "expected"),
    [
        (20, 0, False, Verdict.FITS),
        (19, 0, False, Verdict.LIKELY),
        (10, 0, False, Verdict.LIKELY),
        (9, 0, False, Verdict.EXCEEDS),
        (20, 1, False, Verdict.UNPRICED),
        (20, 1, True, Verdict.FITS),
    ],
)
def test_a_verdict_goes_by_both_costs(
    left_nanos: int, unpriced: int, allows: bool, expected: Verdict
) -> None:
    """Surely, probably, or not; and a model without a price is refused unless that is allowed."""
    tally = Tally(expected_units=10 * 10**15, most_nanos=20, unpriced=unpriced)
    assert verdict(tally, left_nanos=left_nanos, allows_unpriced=allows) is expected


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=200))
def test_seen_is_a_set(numbers: list[int]) -> None:
    """Every number is new once; 0 and 1 are taken for one."""
    seen, there = Seen(), set[int]()
    for number in numbers:
        assert seen.add(number) == ((number or 1) in there)
        there.add(number or 1)


def test_seen_grows() -> None:
    """Nothing is forgotten when there are more than there was room for, and it takes under 30 bytes each."""
    seen = Seen()
    draw = random.Random(7)
    numbers = [draw.getrandbits(64) for _ in range(50_000)]
    assert not any(seen.add(number) for number in numbers)
    assert all(seen.add(number) for number in numbers)
    assert len(seen._slots) * 8 < 30 * len(numbers)


def test_repeated_names_are_found() -> None:
    """Every line after the first of a name, and no other."""
    lines: list[RequestLine | LineError] = [
        line(nth=1)._replace(custom_id="a"),
        line(nth=2)._replace(custom_id="b"),
        line(nth=4)._replace(custom_id="a"),
        line(nth=7)._replace(custom_id="a"),
    ]
    names = Names(10)
    for each in lines:
        assert isinstance(each, RequestLine)
        names.add(each.custom_id)
    found = list(duplicates(lines, names.repeated()))
    assert [(fault.line, fault.code) for fault in found] == [
        (4, "duplicate_custom_id"),
        (7, "duplicate_custom_id"),
    ]
    assert "'a' is already used by line 1" in found[1].message


def test_a_tally_travels() -> None:
    """Between processes, as pickle has it."""
    tally = Tally(lines=3, reason="unknown_model")
    assert pickle.loads(pickle.dumps(tally)) == tally
    assert orjson.dumps(Verdict.FITS) == b'"fits"'

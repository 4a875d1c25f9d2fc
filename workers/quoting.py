"""Quotes of an installation: by its prices, its cache, its experience and its budgets. Nothing is written or sent."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from batchmill.budgets.model import Origin
from batchmill.budgets.standing import CallFacts, Standing
from batchmill.cache.lines import LineKeys
from batchmill.catalogue.shipped import read_shipped
from batchmill.errors import InputError, InvalidLinesError
from batchmill.money.bounds import Bounds
from batchmill.money.prices import Pricer
from batchmill.quotes.crew import Crew
from batchmill.quotes.duration import Pace
from batchmill.quotes.forecast import Forecaster
from batchmill.quotes.quote import BudgetQuote, Quote, compile_quote, verdict
from batchmill.quotes.survey import FindHits, Survey
from batchmill.quotes.tally import Question, Tallies, Tally, Teller
from batchmill.requests.model import BatchOptions, Endpoint, LineError, RequestLine, told_bad
from batchmill.requests.names import Names, duplicates
from batchmill.requests.source import InputFile
from batchmill.settings import Settings
from db import cache
from db.budgets import coverage
from db.engine import Database
from db.experience import experiences
from workers.addresses import upstreams_of
from workers.assembly import PROVIDER
from workers.budgets import undefined_budgets
from workers.prices import Terms, file_prices, read_terms

MOST_NAMES = 50_000_000
"""So many lines are told apart (400 MB); one name twice among more than that is told by `run` only."""
TELL_EVERY = 2_000
MOST_PROCESSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoter:
    """Makes quotes by what is known now. Not shared between threads.

    Attributes:
        database: None while there is none.
    """

    settings: Settings
    database: Database | None
    teller: Teller
    forecaster: Forecaster

    @classmethod
    def of(cls, settings: Settings, database: Database | None) -> "Quoter":
        """One that goes by the prices, caps and calls of an installation.

        Raises:
            SettingsError: The file of prices is wrong.
            DatabaseError: The database is away.
        """
        from_file = file_prices(settings)
        terms = Terms(prices=from_file, models=(), percents={})
        known = {}
        if database is not None:
            with database.read() as tx:
                terms, known = read_terms(tx, from_file), dict(experiences(tx))
        pricer = Pricer(terms.prices)
        entries = [*read_shipped().entries, *terms.models]
        forecaster = Forecaster(
            experiences=known,
            latencies_ms={entry.key: entry.latency_ms for entry in entries if entry.latency_ms},
        )
        bounds = Bounds(
            pricer,
            output_cap_tokens=settings.budgets.output_cap_tokens,
            caps=terms.caps,
            percents=terms.percents,
        )
        teller = Teller(PROVIDER, bounds=bounds, pricer=pricer, forecaster=forecaster)
        return cls(settings=settings, database=database, teller=teller, forecaster=forecaster)

    def batch(
        self,
        source: InputFile,
        options: BatchOptions,
        *,
        pace: Pace,
        as_models: Sequence[str] = (),
        processes: int = 1,
        on_bad_line: Callable[[LineError], None],
        on_lines: Callable[[int], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> list[Quote]:
        """Quote a batch, its lines as they stream by: one quote, or one for each of the models to be compared.

        Args:
            processes: That count tokens; more than one only where this process has no threads.
            on_bad_line: Told of every bad line; repeated custom_ids last.
            on_lines: Told how many lines there were so far.
            check: Called for every line; what it raises ends the quote.

        Raises:
            InvalidLinesError: Some lines are bad.
            InputError: The input cannot be read to its end, or has no requests.
        """
        crew = Crew(self.teller, processes=processes, before_fork=self._disconnect)
        models = list(dict.fromkeys(as_models)) or [""]
        keys = LineKeys(options, upstreams_of(self.settings))
        surveys = [
            Survey(options, crew=crew, find_hits=self._find_hits(), keys=keys, as_model=model)
            for model in models
        ]
        with crew.working():
            self._read(source, surveys, on_bad_line, on_lines, check)
        by_model = [
            {kind: tally for kind, tally in crew.tallies.items() if model in ("", kind[0])}
            for model in models
        ]
        return [self._quote(tallies, options, pace) for tallies in by_model]

    def request(
        self, endpoint: Endpoint, body: Mapping[str, Any], models: Iterable[str], options: BatchOptions
    ) -> list[Quote]:
        """Quote a single request, for each of these models."""
        quotes = []
        for model in dict.fromkeys(models):
            asked = orjson.dumps({**body, "model": model})
            question = Question(model, options.request_type, endpoint, asked, False, False)
            quotes.append(self._quote(self.teller.tally([question]), options, Pace(concurrency=1)))
        return quotes

    def _quote(self, tallies: Tallies, options: BatchOptions, pace: Pace) -> Quote:
        return compile_quote(
            tallies,
            provider=PROVIDER,
            forecaster=self.forecaster,
            pace=pace,
            budgets=self._budgets(tallies, options),
        )

    def _read(
        self,
        source: InputFile,
        surveys: Sequence[Survey],
        on_bad_line: Callable[[LineError], None],
        on_lines: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        bad: set[int | None] = set()
        names, count = Names(MOST_NAMES), 0
        for line in source.lines():
            check()
            if isinstance(line, LineError):
                bad.add(line.line)
                on_bad_line(line)
                continue
            names.add(line.custom_id)
            count += 1
            if not bad:
                _survey(surveys, line)
            if count % TELL_EVERY == 0:
                on_lines(count)
        if repeated := names.repeated():
            for again in duplicates(_checked(source.lines(), check), repeated):
                bad.add(again.line)
                on_bad_line(again)
        if bad:
            raise InvalidLinesError(
                f"{told_bad(bad)} not valid; nothing was quoted", "correct the input first"
            )
        if not count:
            raise InputError("the input has no requests", "put one request on each line")
        for survey in surveys:
            survey.flush()

    def _find_hits(self) -> FindHits:
        database = self.database
        if database is None:
            return lambda _: ()

        def find(keys: Collection[str]) -> Collection[str]:
            with database.read() as tx:
                return cache.find(tx, keys)

        return find

    def _disconnect(self) -> None:
        if self.database is not None:
            self.database.close()

    def _budgets(self, tallies: Tallies, options: BatchOptions) -> list[BudgetQuote]:
        """Every budget that covers some of the requests, those that are still to be made too."""
        if self.database is None:
            return _budget_quotes(
                tallies, [()] * len(tallies), undefined_budgets(None, self.settings), options
            )
        with self.database.read() as tx:
            undefined = undefined_budgets(tx, self.settings)
            covering = [coverage.covering(tx, _facts(options, *kind)) for kind in tallies]
        return _budget_quotes(tallies, covering, undefined, options)


def counting_processes() -> int:
    """How many processes may count tokens on this machine."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


def _checked(
    lines: Iterable[RequestLine | LineError], check: Callable[[], None]
) -> Iterator[RequestLine | LineError]:
    for line in lines:
        check()
        yield line


def _survey(surveys: Sequence[Survey], line: RequestLine) -> None:
    for survey in surveys:
        survey.add(line)


def _facts(options: BatchOptions, model: str, request_type: str) -> CallFacts:
    return CallFacts(
        tenant=options.tenant,
        user=options.user,
        provider=PROVIDER,
        model=model,
        request_type=request_type,
    )


def _budget_quotes(
    tallies: Tallies,
    covering: Sequence[Sequence[Standing]],
    undefined: Sequence[Standing],
    options: BatchOptions,
) -> list[BudgetQuote]:
    """What is wanted of each budget.

    Args:
        covering: For each tally, the budgets there are.
        undefined: Global ones that will take the place of those variables set before.
    """
    anew = {standing.budget.period for standing in undefined}
    everything = Tally()
    wanted: dict[int, tuple[Standing, Tally]] = {}
    for tally, standings in zip(tallies.values(), covering, strict=True):
        everything.add(tally)
        for standing in standings:
            if standing.budget.origin is not Origin.ENVIRONMENT or standing.budget.period not in anew:
                wanted.setdefault(standing.budget.id, (standing, Tally()))[1].add(tally)
    found = [_of_standing(standing, tally) for standing, tally in wanted.values()]
    found += [_of_standing(standing, everything) for standing in undefined]
    if options.budget_nanos is not None:
        found.append(_budget_quote("the batch's own budget", everything, options.budget_nanos))
    return found


def _of_standing(standing: Standing, tally: Tally) -> BudgetQuote:
    budget = standing.budget
    return _budget_quote(budget.title, tally, standing.left_nanos, allows_unpriced=budget.allows_unpriced)


def _budget_quote(title: str, tally: Tally, left_nanos: int, *, allows_unpriced: bool = False) -> BudgetQuote:
    return BudgetQuote(
        title=title,
        left_nanos=left_nanos,
        expected_nanos=tally.expected_nanos,
        most_nanos=tally.most_nanos,
        verdict=verdict(tally, left_nanos=left_nanos, allows_unpriced=allows_unpriced),
    )

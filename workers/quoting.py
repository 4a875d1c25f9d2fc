"""Quotes of an installation: by its prices, its cache, its experience and its budgets. Nothing is written or sent."""

import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.cache.lines import LineKeys
from batchmill.catalogue.entries import ModelEntry
from batchmill.catalogue.shipped import read_shipped
from batchmill.clock import SystemClock
from batchmill.errors import InputError, InvalidLinesError, MisuseError
from batchmill.money.bounds import Bounds, Model
from batchmill.money.prices import Pricer
from batchmill.providers.names import ProviderName
from batchmill.quotes.crew import Crew
from batchmill.quotes.destinations import Destinations, Placed
from batchmill.quotes.duration import Pace
from batchmill.quotes.forecast import Experiences, Forecaster
from batchmill.quotes.quote import Quote, compile_quote
from batchmill.quotes.survey import FindHits, Survey, question_about
from batchmill.quotes.tally import Tallies, Teller
from batchmill.requests.model import BatchOptions, Endpoint, LineError, RequestLine, told_bad
from batchmill.requests.names import Names, duplicates
from batchmill.requests.source import InputFile
from batchmill.routing.names import Target, parse_target
from batchmill.routing.outlook import Outlook
from batchmill.settings import Settings
from db import cache, circuits
from db.engine import Database
from db.experience import experiences
from workers.addresses import ENDPOINTS, addressing_of, upstreams_of
from workers.prices import Terms, file_prices, read_terms
from workers.quoted_budgets import quoted_budgets

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
    outlook: Outlook
    models: Sequence[ModelEntry]

    @classmethod
    def of(cls, settings: Settings, database: Database | None) -> "Quoter":
        """One that goes by the prices, caps and calls of an installation.

        Raises:
            SettingsError: The file of prices is wrong.
            DatabaseError: The database is away.
        """
        from_file = file_prices(settings)
        terms = Terms(prices=from_file, models=(), percents={})
        known: Experiences = {}
        resting: Mapping[Model, int] = {}
        if database is not None:
            with database.read() as tx:
                terms, known, resting = read_terms(tx, from_file), experiences(tx), circuits.resting(tx)
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
        outlook = Outlook(
            pricer,
            providers=upstreams_of(settings).usable,
            endpoints=ENDPOINTS,
            now_ms=SystemClock().now_ms if database is None else database.now_ms,
            open_circuits=lambda: resting,
        )
        outlook.set_experiences(known)
        return cls(
            settings=settings,
            database=database,
            teller=Teller(bounds=bounds, pricer=pricer, forecaster=forecaster),
            forecaster=forecaster,
            outlook=outlook,
            models=terms.models,
        )

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
            as_models: As lines name them, `auto` aside.
            processes: That count tokens; more than one only where this process has no threads.
            on_bad_line: Told of every bad line; repeated custom_ids last.
            on_lines: Told how many lines there were so far.
            check: Called for every line; what it raises ends the quote.

        Raises:
            MisuseError: A model to be compared is none.
            InvalidLinesError: Some lines are bad, or no model fits them.
            ProviderError: A line is for a provider that cannot be called.
            InputError: The input cannot be read to its end, or has no requests.
        """
        targets = list(dict.fromkeys(map(_compared, as_models)))
        alternatives: list[Target | None] = [*targets] or [None]
        crew = Crew(self.teller, processes=processes, before_fork=self._disconnect)
        keys = LineKeys(options, upstreams_of(self.settings))
        surveys = [
            Survey(
                options,
                crew=crew,
                find_hits=self._find_hits(),
                keys=keys,
                destinations=self._destinations(options, target),
            )
            for target in alternatives
        ]
        with crew.working():
            self._read(source, surveys, on_bad_line, on_lines, check)
        if not targets:
            return [self._quote(crew.tallies, options, pace)]
        return [
            self._quote(
                {kind: tally for kind, tally in crew.tallies.items() if kind[:2] == target.key}, options, pace
            )
            for target in targets
        ]

    def request(
        self, endpoint: Endpoint, body: Mapping[str, Any], models: Iterable[str], options: BatchOptions
    ) -> list[Quote]:
        """Quote a single request, for each of these models; for `auto`, at what would be chosen.

        Raises:
            InputError: One of them cannot be asked that, or none fits.
            ProviderError: One is of a provider that cannot be called.
        """
        destinations = self._destinations(options)
        placed: dict[Model, Placed] = {}
        for model in dict.fromkeys(models):
            found = destinations.place(RequestLine(1, "", endpoint, model, {**body, "model": model}))
            if isinstance(found, LineError):
                raise InputError(f"{model}: {found.message}", "name another model")
            placed.setdefault((found.line.provider, found.line.model), found)
        return [self._quote_of(one, options) for one in placed.values()]

    def _quote_of(self, placed: Placed, options: BatchOptions) -> Quote:
        question = question_about(placed, options)
        return self._quote(self.teller.tally([question]), options, Pace(concurrency=1))

    def _quote(self, tallies: Tallies, options: BatchOptions, pace: Pace) -> Quote:
        return compile_quote(
            tallies,
            forecaster=self.forecaster,
            pace=pace,
            budgets=quoted_budgets(self.database, self.settings, tallies, options),
        )

    def _destinations(self, options: BatchOptions, as_target: Target | None = None) -> Destinations:
        return Destinations(
            options,
            addressing=addressing_of(self.settings),
            models=self.models,
            outlook=self.outlook,
            as_target=as_target,
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
            placed = line if isinstance(line, LineError) else _placed(surveys, line)
            if isinstance(placed, LineError):
                bad.add(placed.line)
                on_bad_line(placed)
                continue
            names.add(placed[0].line.custom_id)
            count += 1
            if not bad:
                for survey, one in zip(surveys, placed, strict=True):
                    survey.add(one)
            if count % TELL_EVERY == 0:
                on_lines(count)
        if repeated := names.repeated():
            for again in duplicates(_good(source.lines(), bad, check), repeated):
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


def counting_processes() -> int:
    """How many processes may count tokens on this machine."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


def _compared(model: str) -> Target:
    """A model that every line is to be quoted at."""
    target = parse_target(model, default_provider=ProviderName.OPENAI)
    if target.is_auto:
        raise MisuseError(
            "auto is no model to quote every line at: it is another for each line",
            "let the lines name it, or leave out --as and give --model auto for those that name none",
        )
    return target


def _placed(surveys: Sequence[Survey], line: RequestLine) -> list[Placed] | LineError:
    """Where a line goes in each survey; or the first reason why it cannot go anywhere."""
    found = []
    for survey in surveys:
        placed = survey.place(line)
        if isinstance(placed, LineError):
            return placed
        found.append(placed)
    return found


def _good(
    lines: Iterable[RequestLine | LineError], bad: Container[int | None], check: Callable[[], None]
) -> Iterator[RequestLine | LineError]:
    """The lines without those that have been found bad."""
    for line in lines:
        check()
        if line.line not in bad:
            yield line

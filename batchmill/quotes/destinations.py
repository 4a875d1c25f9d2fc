"""Destinations: whom the question of each line would be put to, as far as that is known before any is asked.

A line that names its model goes to that one; if it does not answer, to its fallbacks: its own, else its batch's, else
the catalogue's. A line for any model goes to what would be chosen now, and else to the other candidates.

What rests now, as it has failed, may answer by the time the line's turn comes: it is not the choice, but it is among
those that may be asked. Where nothing fits but what rests, the line would wait for it, so it is the choice.

Honest weakness: a batch takes hours, and what is chosen then goes by the catalogue, the experience and the failures of
that moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.bounds import Model
from batchmill.requests.checks import Fault
from batchmill.requests.model import BatchOptions, LineError, RequestLine
from batchmill.routing.addressing import Addressing
from batchmill.routing.names import Target
from batchmill.routing.outlook import Outlook, Size, size_of
from batchmill.routing.question import Question, question_of
from batchmill.routing.router import fallbacks_of, no_model_left
from batchmill.routing.selection import select
from batchmill.routing.wants import Wants, load_wants, merged

_MOST_KEPT = 1_000


class Placed(NamedTuple):
    """A line, and whom its question would be put to. A tuple, as there are millions.

    Attributes:
        line: As addressed: for any model, where the choice is ours.
        asked: The same as it would be put to the model that it goes to.
        others: Whom it may go to instead: provider and model of each.
    """

    line: RequestLine
    asked: RequestLine
    others: tuple[Model, ...] = ()


class Destinations:
    """Finds out whom the lines of one batch would be put to. Not shared between threads.

    Args:
        models: The catalogue.
        outlook: Knows by what is chosen from it.
        as_target: Place every line as if it asked this model; None takes its own.
    """

    def __init__(
        self,
        options: BatchOptions,
        *,
        addressing: Addressing,
        models: Sequence[ModelEntry],
        outlook: Outlook,
        as_target: Target | None = None,
    ) -> None:
        self._as_target = as_target
        self._addressing = addressing
        self._models = models
        self._fallbacks = fallbacks_of(models)
        self._outlook = outlook
        self._request_type = options.request_type
        self._wants_of_batch = load_wants(options.routing)
        self._wants: dict[str, Wants] = {}
        self._choices: dict[tuple[Question, Size, str], tuple[Target, ...] | Fault] = {}

    def place(self, line: RequestLine) -> Placed | LineError:
        """Where a line goes, as it was read; or why it cannot go anywhere.

        Raises:
            ProviderError: It is for a provider that cannot be called.
        """
        target = self._as_target
        addressed = self._addressing.address(line) if target is None else self._put_to(target, line)
        if isinstance(addressed, LineError):
            return addressed
        wants = self._wants_of(addressed.routing)
        if not addressed.provider:
            return self._chosen(addressed, wants)
        key = addressed.provider, addressed.model
        fallback = wants.fallback or self._fallbacks.get(key, ())
        return Placed(addressed, addressed, _others(key, fallback))

    def _put_to(self, target: Target, line: RequestLine) -> RequestLine | LineError:
        """A line as if it named this model; or why that cannot be asked it."""
        return self._addressing.address(
            line._replace(model=target.name, body={**line.body, "model": target.name})
        )

    def _chosen(self, line: RequestLine, wants: Wants) -> Placed | LineError:
        request_type = line.request_type or self._request_type
        question = question_of(line.endpoint, line.body, request_type=request_type, wants=wants)
        size = size_of(line.endpoint, line.body)
        key = (question, size, request_type)
        choice = self._choices.get(key)
        if choice is None:
            if len(self._choices) >= _MOST_KEPT:
                self._choices.clear()
            choice = self._choices[key] = self._choose(question, size, request_type)
        if isinstance(choice, Fault):
            return LineError(line=line.line, code=choice.code, message=choice.message, param=choice.param)
        return self._first(line, choice)

    def _first(self, line: RequestLine, candidates: Sequence[Target]) -> Placed | LineError:
        """The first that can be asked just this. Of the others it is not found out: the most counts all of them."""
        faults = []
        for target in candidates:
            asked = self._put_to(target, line)
            if isinstance(asked, RequestLine):
                return Placed(line, asked, _others(target.key, candidates))
            faults.append(f"{target.name}: {asked.message}")
        fault = no_model_left(faults)
        return LineError(line=line.line, code=fault.code, message=fault.message, param=fault.param)

    def _choose(self, question: Question, size: Size, request_type: str) -> tuple[Target, ...] | Fault:
        """The candidates as they are now, and where some models rest also those that there would be if none did."""
        here = self._outlook.situation_of(size, request_type)
        selections = [select(question, self._models, here)]
        if here.open_until_ms:
            selections.append(select(question, self._models, replace(here, open_until_ms={})))
        if (fault := selections[-1].fault) is not None:
            return fault
        return tuple(one.target for selection in selections for one in selection.candidates)

    def _wants_of(self, routing: str) -> Wants:
        wants = self._wants.get(routing)
        if wants is None:
            if len(self._wants) >= _MOST_KEPT:  # wishes come from producers: never without end
                self._wants.clear()
            wants = self._wants[routing] = merged(load_wants(routing), self._wants_of_batch)
        return wants


def _others(model: Model, targets: Iterable[Target]) -> tuple[Model, ...]:
    return tuple(key for key in dict.fromkeys(target.key for target in targets) if key != model)

"""Addressing: whom each line of an input is for, found out as the lines stream by.

`anthropic/claude-sonnet-5-5` becomes the model `claude-sonnet-5-5` of Anthropic, so that from here on a question is
the same however its model was written. What a provider cannot be asked is told now, with the line, and not by a failed
call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from batchmill.errors import MisuseError, ProviderError
from batchmill.providers.names import ProviderName
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.routing.names import Target, parse_target

Check = Callable[[Endpoint, str, Mapping[str, Any]], tuple[str, str] | None]
"""What is wrong with a request to one provider, by endpoint, model and body: the field at fault, and a sentence."""

UNSUPPORTED = "unsupported_parameter"
_MOST_REMEMBERED = 1_000
_LONGEST_REMEMBERED = 200


class Addressing:
    """Finds out whom lines are for.

    Args:
        checks: By provider: what it cannot be asked.
        unusable: By provider: why no call can be made to it. A line for it is an error.
    """

    def __init__(
        self, checks: Mapping[str, Check] | None = None, unusable: Mapping[str, ProviderError] | None = None
    ) -> None:
        self._checks = checks or {}
        self._unusable = unusable or {}
        self._known: dict[str, Target] = {}

    def read(self, lines: Iterable[RequestLine | LineError]) -> Iterator[RequestLine | LineError]:
        """Yield each line with its provider and the bare name of its model.

        Raises:
            ProviderError: A line is for a provider that cannot be called.
        """
        for line in lines:
            yield line if isinstance(line, LineError) else self.address(line)

    def address(self, line: RequestLine) -> RequestLine | LineError:
        """The line with its provider and the bare name of its model.

        Raises:
            ProviderError: It is for a provider that cannot be called.
        """
        target = self._known.get(line.model)
        if target is None:
            try:
                target = self._learn(line.model)
            except MisuseError as error:
                return LineError(
                    line=line.line, code="invalid_value", message=error.message, param="body.model"
                )
        if target.provider in self._unusable:
            raise self._unusable[target.provider]
        if target.model != line.model or target.provider != line.provider:
            body = line.body if target.model == line.model else {**line.body, "model": target.model}
            line = line._replace(provider=target.provider, model=target.model, body=body)
        check = self._checks.get(target.provider)
        if check is not None and (fault := check(line.endpoint, line.model, line.body)) is not None:
            param, message = fault
            return LineError(line=line.line, code=UNSUPPORTED, message=message, param=f"body.{param}")
        return line

    def _learn(self, model: str) -> Target:
        target = parse_target(model, default_provider=ProviderName.OPENAI)
        if len(model) <= _LONGEST_REMEMBERED:  # names come from producers: what is remembered is bounded
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[model] = target
        return target

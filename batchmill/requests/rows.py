"""Makes requests of rows of data, from a table or from JSON lines, by a template."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchmill.requests.bodies import Question, compose
from batchmill.requests.checks import Fault, name_fault, shown
from batchmill.requests.jsonl import line_error
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.template import PromptTemplate

DEFAULT_ID_COLUMN = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What every row is made a request with.

    Attributes:
        id_column: Where a row's own name is; "" for `id` if the row has that, else the row's place.
    """

    template: PromptTemplate
    endpoint: Endpoint
    model: str
    system_prompt: str = ""
    id_column: str = ""

    def read(self, line: int, values: Mapping[str, str], *, place: int) -> Iterator[RequestLine | LineError]:
        """Yield the request of one row, or everything wrong with it."""
        faults = list(self._faults(values))
        if faults:
            yield from (line_error(line, fault) for fault in faults)
            return
        question = Question(
            model=self.model, prompt=self.template.fill(values), system_prompt=self.system_prompt
        )
        yield RequestLine(
            line=line,
            custom_id=values.get(self.id_column or DEFAULT_ID_COLUMN, str(place)),
            endpoint=self.endpoint,
            model=self.model,
            body=compose(self.endpoint, question),
        )

    def _faults(self, values: Mapping[str, str]) -> Iterator[Fault]:
        named = (*self.template.names, self.id_column) if self.id_column else self.template.names
        absent = [name for name in named if name not in values]
        for name in absent:
            there = ", ".join(map(shown, values)) or "nothing"
            yield Fault(
                "missing_required_parameter",
                f"Missing required parameter: {shown(name)}. It has {there}.",
                name,
            )
        id_column = self.id_column or DEFAULT_ID_COLUMN
        if id_column in values and (fault := name_fault(id_column, values[id_column])):
            yield fault
        if not absent and not any(values[name].strip() for name in self.template.names):
            empty = " and ".join(map(shown, self.template.names))
            yield Fault(
                "invalid_value", f"Invalid value: nothing to ask, {empty} is empty.", self.template.names[0]
            )

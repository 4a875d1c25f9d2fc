"""The shape of an input: in which format it is, and what its lines are made requests with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

import orjson

from batchmill.errors import MisuseError
from batchmill.requests.bodies import WITH_SYSTEM_PROMPT
from batchmill.requests.jsonl import BOM
from batchmill.requests.lines import read_lines
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.plain import read_json_rows, read_plain
from batchmill.requests.rows import Rows
from batchmill.requests.table import Table, template_for
from batchmill.requests.template import PromptTemplate


class InputFormat(StrEnum):
    """What the lines of an input are."""

    AUTO = "auto"
    """By the name's ending and the first line."""
    OPENAI = "openai"
    PLAIN = "plain"
    CSV = "csv"


TABLE_SUFFIXES = (".csv", ".tsv")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_OPENAI_FIELDS = {"custom_id", "method", "url", "body"}
_OPENAI_TEXT = re.compile(rb'"(custom_id|body)"\s*:')
_PLAIN_TEXT = re.compile(rb'"(prompt|system_prompt)"\s*:')


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """How an input is read; it changes the requests, so it tells one run from another.

    Attributes:
        endpoint: None leaves it to the lines in OpenAI's format, and is a chat for others.
        model: For lines that name none.
        prompt: A template, `Summarise {text}`; makes rows of data of CSV and JSON lines.
        prompt_column: The column that is the prompt as it is; instead of `prompt`.
        id_column: Where rows have their names; "" for `id` if there is one, else their numbers.
        system_prompt: For lines without one.
    """

    format: InputFormat = InputFormat.AUTO
    endpoint: Endpoint | None = None
    model: str = ""
    prompt: str = ""
    prompt_column: str = ""
    id_column: str = ""
    system_prompt: str = ""

    def resolved(self, beginning: bytes, suffix: str = "") -> "InputShape":
        """This shape with its format settled.

        Args:
            beginning: The first bytes of the input, its first line if that is not too long.
            suffix: How its name ends, with the dot.

        Raises:
            MisuseError: Something is asked for that this format, or this table, does not have.
            InputError: The table has no header that can be used.
        """
        shape = self
        if self.format is InputFormat.AUTO:
            shape = replace(self, format=self._detected(beginning.removeprefix(BOM).lstrip(), suffix.lower()))
        shape._check()
        if shape.format is InputFormat.CSV and beginning.strip():
            # So that a wrong column is told before any work starts.
            shape._table(BytesIO(beginning), len(beginning))
        return shape

    def read(self, stream: BinaryIO, *, max_line_bytes: int) -> Iterator[RequestLine | LineError]:
        """Yield what each line is, once the format is settled.

        Raises:
            InputError: The table has no rows.
        """
        if self.format is InputFormat.CSV:
            table, template = self._table(stream, max_line_bytes)
            return table.read(self._rows(template))
        if self.format is InputFormat.PLAIN and self._is_data:
            return read_json_rows(stream, max_line_bytes=max_line_bytes, rows=self._rows(self._template()))
        if self.format is InputFormat.PLAIN:
            return read_plain(
                stream,
                max_line_bytes=max_line_bytes,
                endpoint=self.endpoint or Endpoint.CHAT,
                model=self.model,
                system_prompt=self.system_prompt,
            )
        return read_lines(stream, max_line_bytes=max_line_bytes, endpoint=self.endpoint, model=self.model)

    def _table(self, stream: BinaryIO, max_line_bytes: int) -> tuple[Table, PromptTemplate]:
        """The table, behind its header, and the template for it; every column that is asked for is there."""
        table = Table(stream, max_line_bytes=max_line_bytes)
        if self.id_column:
            table.require([self.id_column], "--id-column")
        return table, template_for(table, prompt=self.prompt, prompt_column=self.prompt_column)

    @property
    def _is_data(self) -> bool:
        """Whether lines hold data that a prompt is made of."""
        return bool(self.prompt or self.prompt_column)

    def _template(self) -> PromptTemplate:
        return PromptTemplate(self.prompt) if self.prompt else PromptTemplate.of_column(self.prompt_column)

    def _rows(self, template: PromptTemplate) -> Rows:
        return Rows(
            template=template,
            endpoint=self.endpoint or Endpoint.CHAT,
            model=self.model,
            system_prompt=self.system_prompt,
            id_column=self.id_column,
        )

    def _detected(self, beginning: bytes, suffix: str) -> InputFormat:
        if suffix in TABLE_SUFFIXES:
            return InputFormat.CSV
        if beginning.startswith(b"{"):
            return self._detected_json(beginning)
        if not self._is_data:
            return InputFormat.OPENAI
        is_json = suffix in JSON_SUFFIXES or beginning.startswith(b"[")
        return InputFormat.PLAIN if is_json else InputFormat.CSV

    def _detected_json(self, beginning: bytes) -> InputFormat:
        try:
            fields = set(orjson.loads(beginning.split(b"\n", 1)[0]))
        except orjson.JSONDecodeError:  # malformed, or longer than what there is of it
            is_openai = _OPENAI_TEXT.search(beginning) or not _PLAIN_TEXT.search(beginning)
            return InputFormat.OPENAI if is_openai and not self._is_data else InputFormat.PLAIN
        if self._is_data:
            return InputFormat.OPENAI if fields >= {"custom_id", "body"} else InputFormat.PLAIN
        is_plain = "prompt" in fields or (fields and not fields & _OPENAI_FIELDS)
        return InputFormat.PLAIN if is_plain and not fields & {"custom_id", "body"} else InputFormat.OPENAI

    def _check(self) -> None:
        if self.prompt and self.prompt_column:
            raise MisuseError("--prompt and --prompt-column are both given", "say one of them")
        if self.prompt:
            self._check_template(PromptTemplate(self.prompt))
        if self.format is InputFormat.OPENAI:
            self._refuse_for_openai()
        if self.id_column and self.format is InputFormat.PLAIN and not self._is_data:
            raise MisuseError("--id-column is for tables and --prompt; a plain line has its id in `id`")
        if self.system_prompt and (self.endpoint or Endpoint.CHAT) not in WITH_SYSTEM_PROMPT:
            raise MisuseError(f"--system-prompt: {self.endpoint} takes none", "leave it out")
        is_rows = self.format is InputFormat.CSV or self._is_data
        if is_rows and not self.model:
            raise MisuseError("nothing says which model to ask", "name it with --model")

    def _check_template(self, template: PromptTemplate) -> None:
        if not template.names:
            raise MisuseError(
                f"--prompt: {self.prompt!r} would ask the same in every row",
                'write {name} where the value of a column goes: "Summarise {text}"',
            )

    def _refuse_for_openai(self) -> None:
        for option in ("prompt", "prompt_column", "id_column", "system_prompt"):
            if getattr(self, option):
                raise MisuseError(
                    f"--{option.replace('_', '-')} is not for input in OpenAI's format, whose lines say it all",
                    "leave it out, or say what else the input is with --format",
                )

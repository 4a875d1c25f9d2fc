"""A file of requests as lines of OpenAI's batch format: passed on as it is, or made of simple lines or a table."""

from collections.abc import Iterator
from pathlib import Path

from batchmill.client.lines import LineMaker
from batchmill.client.uploads import CHUNK_BYTES
from batchmill.errors import InvalidLinesError, MisuseError
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.shape import InputFormat, InputShape
from batchmill.requests.source import InputFile

TOLD_LINES = 5
_IN_OUR_WORDS = (
    ("--system-prompt", "system_prompt"),
    ("--id-column", "id_column"),
    ("--prompt-column", "prompt"),
)


class FileSource:
    """The requests of a file, read anew with each pass.

    Args:
        prompt: A template, `Summarise {text}`: makes requests of the rows of a table, or of JSON lines with data.
        id_column: Where rows have their names.

    Raises:
        InputError: There is no such file, or nothing in it.
        MisuseError: It is to be read in a way that it cannot be read.
    """

    may_repeat = True

    def __init__(self, path: Path, maker: LineMaker, *, prompt: str = "", id_column: str = "") -> None:
        self._maker = maker
        shape = InputShape(
            endpoint=maker.endpoint,
            model=maker.model,
            prompt=prompt,
            id_column=id_column,
            system_prompt=maker.system_prompt,
        )
        try:
            self._file = InputFile(path, shape)
        except MisuseError as error:
            raise _in_words_of_python(error) from None
        self._path = path
        self._is_passed_on = self._file.shape.format is InputFormat.OPENAI and not maker.model

    def pieces(self) -> Iterator[bytes]:
        """Its lines.

        Raises:
            InvalidLinesError: Some are no requests; the message tells the first of them, and how many there are.
        """
        self._maker.count = 0
        return self._as_it_is() if self._is_passed_on else self._made()

    def _as_it_is(self) -> Iterator[bytes]:
        self._maker.endpoint = self._maker.endpoint or self._first_endpoint()
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _first_endpoint(self) -> Endpoint:
        """That of the first line; whether the others are of it, and whether they are right, the service tells."""
        first = next(self._file.lines())
        return first.endpoint if isinstance(first, RequestLine) else Endpoint.CHAT

    def _made(self) -> Iterator[bytes]:
        bad: list[LineError] = []
        for line in self._file.lines():
            if isinstance(line, LineError):
                bad.append(line)
            elif not bad:
                yield self._maker.made(line)
        if bad:
            raise _invalid(self._path, bad)


def _invalid(path: Path, bad: list[LineError]) -> InvalidLinesError:
    told = "; ".join(
        f"line {one.line}: {one.message}" if one.line is not None else one.message for one in bad[:TOLD_LINES]
    )
    rest = f"; and {len(bad) - TOLD_LINES:,} more" if len(bad) > TOLD_LINES else ""
    return InvalidLinesError(f'"{path}": {told}{rest}', "nothing was submitted; correct these")


def _in_words_of_python(error: MisuseError) -> MisuseError:
    """What the command line says of its options, said of arguments."""
    message, hint = error.message, error.hint
    for option, argument in _IN_OUR_WORDS:
        message, hint = message.replace(option, argument), hint.replace(option, argument)
    for name in ("model", "prompt"):
        message, hint = message.replace(f"--{name}", f"{name}=..."), hint.replace(f"--{name}", f"{name}=...")
    return MisuseError(message, hint)

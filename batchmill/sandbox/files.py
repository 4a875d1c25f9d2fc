"""The sandbox's two files: replies to replay, and the log of calls."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from batchmill.errors import InputError, OutputError

_REPLY = 'a line looks like {"question": "2 + 2?", "reply": "4"}'


def load_replies(path: Path) -> Mapping[str, str]:
    """Replies by question, from JSONL lines with `question` and `reply`; a later line wins.

    Raises:
        InputError: The file cannot be read, or a line is no such object; the message names it.
    """
    replies: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    question, reply = _read_reply(line, f"{path}, line {number}")
                    replies[question] = reply
    except OSError as error:
        hint = "name a JSONL file with --replies"
        raise InputError(f"cannot read the replies in {path}: {error.strerror}", hint) from error
    return replies


def _read_reply(line: bytes, where: str) -> tuple[str, str]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error}", _REPLY) from error
    question, reply = (value.get("question"), value.get("reply")) if isinstance(value, dict) else (None, None)
    if not isinstance(question, str) or not isinstance(reply, str):
        raise InputError(f"{where} has no text in `question` and `reply`", _REPLY)
    return question, reply


class CallLog:
    """One JSON line per call received, handed to the operating system before the call is answered.

    A killed sandbox loses no line; a crashed machine may. Several processes may append to one file.

    Raises:
        OutputError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            hint = "name a file that you may write with --log"
            raise OutputError(f"cannot write the call log {path}: {error.strerror}", hint) from error

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line. Raises: OSError when it cannot be written; no answer may be sent then."""
        rest = memoryview(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

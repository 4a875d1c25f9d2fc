"""Uploads: what a form says of a file, and the file itself, as both come in over the wire."""

import hashlib
from pathlib import PurePath
from typing import Any

import orjson

from batchmill.errors import ParameterError
from batchmill.files.model import TAKEN, Purpose
from batchmill.requests.checks import missing, shown
from batchmill.requests.jsonl import BOM
from workers.serving.files import Upload
from workers.serving.idempotency import Named
from workers.serving.service import Service

WRITE_BYTES = 256 * 1024
"""So much is gathered before it is written: a small write costs more than it carries."""
LONGEST_FIRST_LINE = 1_000_000
LONGEST_FILENAME = 512
EXPIRES_S = (3_600, 2_592_000)
LINES_SUFFIXES = ("", ".jsonl", ".ndjson")
NO_LINES = "Invalid file format for Batch API. Must be .jsonl"
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = ("purpose", _ANCHOR, _SECONDS)


class Receiving:
    """One upload. `finish` or `abandon` it; what has not been finished leaves no trace.

    Args:
        name: By which its sender knows it, should it be sent twice.

    Raises:
        ParameterError: The form says something that cannot be (from any method).
        TooLargeError: The file is larger than what is taken.
        QuotaError: It does not fit into what its tenant may keep.
        StoreError: The store does not take it.
    """

    def __init__(self, service: Service, tenant: str, name: str | None = None) -> None:
        self._service = service
        self._tenant = tenant
        self._name = name
        self._fields: dict[str, str] = {}
        self._filename: str | None = None
        self._upload: Upload | None = None
        self._waiting = bytearray()
        self._first_line = FirstLine()

    def field(self, name: str, value: str) -> None:
        """A field of the form."""
        if name not in _FIELDS:
            raise ParameterError(f"Unknown parameter: {shown(name)}.", name[:100], "unknown_parameter")
        self._fields[name] = value

    def begin(self, name: str, filename: str) -> None:
        """From here on comes the file."""
        if name != "file":
            raise ParameterError(f"Unknown parameter: {shown(name)}.", name[:100], "unknown_parameter")
        if self._filename is not None:
            raise ParameterError("Only one file can be uploaded at a time.", "file")
        self._filename = _clean(filename)
        if "purpose" in self._fields:
            self._purpose()  # so that a mistake is told before all of the file has come

    def piece(self, data: bytes) -> bool:
        """A piece of the file; whether it is time to `flush`."""
        self._waiting += data
        return len(self._waiting) >= WRITE_BYTES

    def flush(self) -> None:
        """Write what has come."""
        if self._upload is None:
            assert self._filename is not None
            limits = self._service.settings.service
            self._upload = Upload(
                self._service.database,
                self._service.store,
                tenant=self._tenant,
                purpose=self._fields.get("purpose", ""),
                filename=self._filename,
                most_bytes=limits.max_file_bytes,
                quota_bytes=limits.files_quota_bytes,
            )
        waiting, self._waiting = self._waiting, bytearray()
        self._first_line.see(waiting)
        self._upload.write(waiting)

    def finish(self) -> Any:
        """The form is whole, and so is the file; its row.

        Raises:
            ConflictError: Its sender has given its name to another file.
        """
        if self._filename is None:
            raise _missing("file")
        self.flush()
        assert self._upload is not None
        purpose, expires_s = self._purpose(), self._expires_s()
        if purpose is Purpose.BATCH:
            self._require_lines()
        self._upload.describe(purpose=purpose, filename=self._filename, expires_s=expires_s)
        self._upload.seal()
        named = self._named(purpose)
        with self._service.database.write() as tx:
            known = named.known(tx)
            row = known if known is not None else named.note(tx, self._upload.enter(tx))
        if known is not None:
            self.abandon()  # it was sent before
        return row

    def abandon(self) -> None:
        """Nothing of it is to stay."""
        if self._upload is not None:
            self._upload.__exit__()

    def _named(self, purpose: Purpose) -> Named:
        assert self._upload is not None
        told = f"file\0{purpose}\0{self._filename}\0{self._expires_s()}\0{self._upload.sha256}"
        return Named.file(self._tenant, self._name, hashlib.sha256(told.encode()).hexdigest())

    def _purpose(self) -> Purpose:
        value = self._fields.get("purpose")
        if value is None:
            raise _missing("purpose")
        if value not in TAKEN:
            supported = ", ".join(f"'{purpose}'" for purpose in TAKEN)
            raise ParameterError(
                f"Invalid value: {shown(value)}. Supported values are: {supported}.", "purpose"
            )
        return Purpose(value)

    def _expires_s(self) -> int | None:
        if _SECONDS not in self._fields and _ANCHOR not in self._fields:
            return None
        if self._fields.get(_ANCHOR) != "created_at":
            raise ParameterError("Invalid value. Supported values are: 'created_at'.", "expires_after.anchor")
        seconds = self._fields.get(_SECONDS, "")
        least, most = EXPIRES_S
        if not (
            seconds.isascii() and seconds.isdigit() and len(seconds) < 10 and least <= int(seconds) <= most
        ):
            raise ParameterError(
                f"Invalid value for 'expires_after.seconds': a whole number from {least} to {most} is expected.",
                "expires_after.seconds",
            )
        return int(seconds)

    def _require_lines(self) -> None:
        """Refuse what is no JSON Lines at all, by its name and its first line."""
        suffix = PurePath(self._filename or "").suffix.lower()
        if suffix not in LINES_SUFFIXES or not self._first_line.is_object():
            raise ParameterError(NO_LINES, "file", "invalid_file_format")


class FirstLine:
    """The first line of a file that is not blank, as far as it tells whether there are objects on lines; the rest is
    not kept."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_over = False
        self._is_cut = False

    def see(self, data: bytes | bytearray) -> None:
        """The next bytes of the file."""
        if self._is_over:
            return
        self._kept += data[: LONGEST_FIRST_LINE - len(self._kept)]
        line, newline, _ = self._kept.removeprefix(BOM).lstrip().partition(b"\n")
        if newline or len(self._kept) >= LONGEST_FIRST_LINE:
            self._kept, self._is_over, self._is_cut = line, True, not newline

    def is_object(self) -> bool:
        """Whether it is a JSON object, or begins as one where it is too long to tell."""
        line = self._kept.removeprefix(BOM).strip()
        try:
            return isinstance(orjson.loads(line), dict)
        except orjson.JSONDecodeError:
            return self._is_cut and line.startswith(b"{")


def _clean(filename: str) -> str:
    """A name without folders, or characters that a database does not take."""
    name = filename.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return name.encode(errors="replace").decode()[:LONGEST_FILENAME] or "upload"


def _missing(param: str) -> ParameterError:
    fault = missing(param)
    return ParameterError(fault.message, param, fault.code)

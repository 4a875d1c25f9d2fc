"""The export: marked answers, the best first, become files with a manifest; from the same answers, the same bytes.

```
marked answer ──► conversation ──► redacted ──► example ──► by the rules? ──► new? ──► train.jsonl | validation.jsonl
                        └───────────────┴────────────┴─────────────┴────────────┴──► left out, with a reason
```
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import orjson

from batchmill.pii.library import patterns
from batchmill.pii.model import FOUND, MISSED, RULES_VERSION, Kind
from batchmill.training.conversation import conversation_of
from batchmill.training.duplicates import PERMUTATIONS, SEED, Duplicates
from batchmill.training.folder import ExportFolder
from batchmill.training.formats import Writer, writer
from batchmill.training.model import MEANINGS, Answered, Conversation, Reason, UnfitError, Wish
from batchmill.training.private import redacted
from batchmill.training.split import is_for_training
from batchmill.training.validate import file_faults

TRAIN: Final = "train.jsonl"
VALIDATION: Final = "validation.jsonl"
MANIFEST_VERSION: Final = 1
MOST_DETAILS: Final = 50
_LIBRARIES: Final = ("batchmill", "rensa", "python-stdnum", "phonenumbers")


@dataclass(slots=True)
class Tally:
    """What has come of the answers so far."""

    answers: int = 0
    train: int = 0
    validation: int = 0
    left_out: Counter[Reason] = field(default_factory=Counter)
    details: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    redactions: Counter[Kind] = field(default_factory=Counter)

    def leave_out(self, unfit: UnfitError) -> None:
        """Count one that is left out; the details of the first few kinds."""
        self.left_out[unfit.reason] += 1
        detail = unfit.reason, unfit.detail
        if unfit.detail and (detail in self.details or len(self.details) < MOST_DETAILS):
            self.details[detail] += 1

    @property
    def examples(self) -> int:
        """All that are written."""
        return self.train + self.validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What came of an export.

    Attributes:
        is_new: False where the very same stood there already.
        warnings: Rules that a file as a whole does not keep: too few examples, for instance.
    """

    manifest: dict[str, Any]
    tally: Tally
    is_new: bool
    warnings: tuple[str, ...]


def export(answers: Iterable[Answered], path: Path, wish: Wish, tally: Tally) -> Exported:
    """Write marked answers to a folder.

    Args:
        answers: The best first: of those that are almost the same, the first stays.
        tally: Is counted up meanwhile, for whoever shows how far it is.

    Raises:
        SettingsError: A library that is needed is not installed.
        ConflictError: Something else stands there.
        OutputError: It cannot be written.
    """
    if wish.redact:
        patterns()
    form, seen = writer(wish.format), Duplicates(wish.near)
    with ExportFolder(path) as folder:
        for answered in answers:
            tally.answers += 1
            try:
                name, line = _example(answered, wish, form, seen, tally)
            except UnfitError as unfit:
                tally.leave_out(unfit)
                continue
            folder.add(name, line)
            tally.train += name == TRAIN
            tally.validation += name == VALIDATION
        files = folder.files()
        warnings = tuple(_warnings(files, form))
        manifest = _manifest(wish, tally, files, warnings, form)
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        is_new = folder.publish(orjson.dumps(manifest, option=options))
    return Exported(manifest=manifest, tally=tally, is_new=is_new, warnings=warnings)


def _example(
    answered: Answered, wish: Wish, form: Writer, seen: Duplicates, tally: Tally
) -> tuple[str, bytes]:
    """The file that an answer goes to, and its line there.

    Raises:
        UnfitError: It is left out.
    """
    conversation = conversation_of(answered)
    found: Counter[Kind] = Counter()
    if wish.redact:
        conversation, found = redacted(conversation)
    example = form.write(conversation)
    fault = next(form.faults(example), "")
    if fault:
        raise UnfitError(Reason.BREAKS_RULES, fault)
    line = orjson.dumps(example, option=orjson.OPT_APPEND_NEWLINE)
    _refuse_seen(line, conversation, seen)
    tally.redactions.update(found)
    is_training = is_for_training(conversation, share=wish.train_share, seed=wish.seed)
    return (TRAIN if is_training else VALIDATION), line


def _refuse_seen(line: bytes, conversation: Conversation, seen: Duplicates) -> None:
    if seen.is_same(line):
        raise UnfitError(Reason.DUPLICATE)
    if seen.is_near(conversation):
        raise UnfitError(Reason.NEAR_DUPLICATE)


def _warnings(files: dict[str, dict[str, Any]], form: Writer) -> Iterable[str]:
    nothing = {"lines": 0, "bytes": 0}
    for name in (TRAIN, VALIDATION):
        facts = files.get(name, nothing)
        told = file_faults(
            form.RULES, lines=facts["lines"], size=facts["bytes"], is_validation=name == VALIDATION
        )
        yield from (f"{name}: {fault}" for fault in told)


def decided_by(wish: Wish) -> dict[str, Any]:
    """What an export hangs on, as its manifest has it: where all of it is the same, so is the export."""
    return {
        "manifest": MANIFEST_VERSION,
        "format": wish.format.value,
        "source": wish.source,
        "filters": wish.filters,
        "duplicates": {"near": wish.near, "permutations": PERMUTATIONS, "seed": SEED},
        "redaction_rules": RULES_VERSION if wish.redact else None,
        "split": {"train_share": wish.train_share, "seed": wish.seed, "by": "conversation"},
        "versions": {name: _version(name) for name in _LIBRARIES},
    }


def _manifest(
    wish: Wish, tally: Tally, files: dict[str, dict[str, object]], warnings: Iterable[str], form: Writer
) -> dict[str, Any]:
    """All there is to be known of an export. Nothing in it hangs on when, where and how often it is made."""
    return decided_by(wish) | {
        "rules": form.RULES.source,
        "counts": {
            "marked_answers": tally.answers,
            "examples": tally.examples,
            "train": tally.train,
            "validation": tally.validation,
            "left_out": tally.left_out.total(),
        },
        "left_out": {reason.value: _left_out(reason, tally) for reason in Reason if tally.left_out[reason]},
        "redaction": _redaction(wish, tally),
        "files": files,
        "warnings": list(warnings),
    }


def _left_out(reason: Reason, tally: Tally) -> dict[str, Any]:
    details = {detail: count for (of, detail), count in tally.details.items() if of is reason}
    return {"count": tally.left_out[reason], "meaning": MEANINGS[reason], "details": details}


def _redaction(wish: Wish, tally: Tally) -> dict[str, Any]:
    if not wish.redact:
        return {"is_on": False}
    return {
        "is_on": True,
        "replaced": {kind.value: tally.redactions[kind] for kind in Kind},
        "looked_for": {kind.value: what for kind, what in FOUND.items()},
        "misses": list(MISSED),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

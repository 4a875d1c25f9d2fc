"""What is left of a process group whose leader was started here."""

import contextlib
import os
from pathlib import Path


def holds_anything(group: int) -> bool:
    """Whether a process of the group may still have files open, locks among them.

    A dead one that nobody has reaped has none: in a container without an init orphans stay such for long. Where there
    is no proc(5) to tell it, it counts as one that lives.

    Raises:
        ProcessLookupError: None of it is left.
    """
    os.killpg(group, 0)
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    return not stats or any(_is_of(group, stat) and not _is_dead(stat) for stat in stats)


def _stat(path: Path) -> list[str]:
    """What proc(5) has of a process from its third field on; nothing where it has gone meanwhile."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").rsplit(")", 1)[1].split()
    return []


def _is_of(group: int, stat: list[str]) -> bool:
    return bool(stat) and stat[2] == str(group)


def _is_dead(stat: list[str]) -> bool:
    """With all its threads: the first may have ended before the others, who have the same files."""
    return stat[0] in "ZX" and int(stat[17]) <= 1

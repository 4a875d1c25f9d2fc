"""Work for a mill that is roughly handled: questions of which some repeat others, handed in by command."""

import random
from pathlib import Path

from tests.support.arena import Arena
from tests.support.mill import chat_line, write_lines

REPEATED = 0.25
"""So many of the lines ask what another asks, too."""


def question_file(path: Path, lines: int, seed: int = 0) -> Path:
    """So many lines, in an order and with repetitions that the seed decides."""
    draw = random.Random(seed)
    different = max(1, round(lines * (1 - REPEATED)))
    asked = [*range(different), *(draw.randrange(different) for _ in range(lines - different))]
    draw.shuffle(asked)
    return write_lines(path, [chat_line(f"c{nth}", f"question {number}") for nth, number in enumerate(asked)])


def hand_in(arena: Arena, path: Path, *options: str) -> str:
    """Submit a file; the batch's id."""
    done = arena.mill.quickly("submit", path, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

"""How complex a question is, guessed from its text: cheaply, and the same for the same text.

Points are given, over all messages together:

| for | points |
|---|---|
| `LONG_WORDS` words or more | 1 |
| `VERY_LONG_WORDS` words or more, or a text longer than what is looked at | 2 |
| each different word that asks for thought (analyse, compare, ...), up to `MOST_WORDS` of them | 1 |
| each different word or phrase that asks for rigour (prove, step by step, ...) | 2 |
| a fenced block of code | 1 |
| `MANY_QUESTIONS` question marks or more | 1 |

None is simple, fewer than `COMPLEX_POINTS` are medium, from there on it is complex. Where there is no text to go by, a
picture alone for instance, it is medium. Vectors and moderation are simple: there is nothing to think about.

Looked at are `MOST_CHARS` characters, those of the last messages first, as the question is mostly there.

Honest weakness: it is a guess by words, English and German ones. A long text that somebody only wants translated counts
as more than it is, a hard riddle in plain words as less; whoever knows better says so with `complexity`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from batchmill.requests.checks import CONTENT
from batchmill.requests.model import Endpoint

MOST_CHARS = 20_000
LONG_WORDS, VERY_LONG_WORDS = 300, 1_500
MOST_WORDS = 3
MANY_QUESTIONS = 3
COMPLEX_POINTS = 3

_THOUGHT_ENGLISH = """
    analyse analyze analysis assess compare comparison critique debug design discuss evaluate explain justify
    optimise optimize plan refactor why"""
_THOUGHT_GERMAN = """
    analysiere analysieren begründe begründen beurteile bewerte bewerten entwickle entwirf erkläre erörtere
    optimiere plane vergleich vergleiche vergleichen warum"""
_RIGOUR_ENGLISH = "derive derivation proof prove theorem"
_RIGOUR_GERMAN = "ableiten beweis beweise beweisen herleite herleiten herleitung"
_THOUGHT = frozenset(f"{_THOUGHT_ENGLISH} {_THOUGHT_GERMAN}".split())
_RIGOUR = frozenset(f"{_RIGOUR_ENGLISH} {_RIGOUR_GERMAN}".split())
_RIGOUR_PHRASES = ("step by step", "trade off", "trade offs", "schritt für schritt", "leite her")

_WORD = re.compile(r"\w+")
_FENCE = "```"
_UNREASONED = (Endpoint.EMBEDDINGS, Endpoint.MODERATIONS)


class Complexity(StrEnum):
    """How much a question asks of a model."""

    SIMPLE = "simple"
    MEDIUM = "medium"
    COMPLEX = "complex"


FLOORS: Mapping[Complexity, float] = {
    Complexity.SIMPLE: 0.70,
    Complexity.MEDIUM: 0.80,
    Complexity.COMPLEX: 0.90,
}
"""The least quality of a model that may answer, by the catalogue's numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How complex a question is taken to be.

    Attributes:
        why: What spoke for it, for people.
    """

    complexity: Complexity
    why: str

    @property
    def floor(self) -> float:
        """The least quality of a model that may answer."""
        return FLOORS[self.complexity]


def assess(endpoint: Endpoint, body: Mapping[str, Any], *, override: Complexity | None = None) -> Assessment:
    """Return how complex a request is; never raises, whatever its body holds.

    Args:
        override: What whoever asks says it is; that counts.
    """
    if override is not None:
        return Assessment(complexity=override, why="the request says so")
    if endpoint in _UNREASONED:
        return Assessment(complexity=Complexity.SIMPLE, why=f"{endpoint} asks for no reasoning")
    text, is_cut = _text(endpoint, body)
    if not text.strip():
        return Assessment(complexity=Complexity.MEDIUM, why="there is no text to go by")
    points = dict(_points(text, is_cut=is_cut))
    total = sum(points.values())
    if not total:
        return Assessment(complexity=Complexity.SIMPLE, why="short, and nothing in it asks for much")
    complexity = Complexity.COMPLEX if total >= COMPLEX_POINTS else Complexity.MEDIUM
    return Assessment(complexity=complexity, why=", ".join(points))


def _points(text: str, *, is_cut: bool) -> Iterator[tuple[str, int]]:
    """What speaks for complexity, and how much."""
    found = _WORD.findall(text.casefold())
    different = set(found)
    if is_cut:
        yield f"more than {MOST_CHARS:,} characters", 2
    elif len(found) >= LONG_WORDS:
        yield f"{len(found):,} words", 2 if len(found) >= VERY_LONG_WORDS else 1
    for word in sorted(different & _THOUGHT)[:MOST_WORDS]:
        yield f"“{word}”", 1
    spaced = f" {' '.join(found)} "
    phrases = [phrase for phrase in _RIGOUR_PHRASES if f" {phrase} " in spaced]
    for word in [*sorted(different & _RIGOUR), *phrases]:
        yield f"“{word}”", 2
    if text.count(_FENCE) > 1:
        yield "code", 1
    if (questions := text.count("?")) >= MANY_QUESTIONS:
        yield f"{questions} questions", 1


def _text(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[str, bool]:
    """The text of a request as far as it is looked at, and whether there is more of it."""
    kept: list[str] = []
    left = MOST_CHARS
    for text in _texts_from_the_last(endpoint, body):
        if len(text) > left:
            kept.append(text[:left])
            return "\n".join(reversed(kept)), True
        kept.append(text)
        left -= len(text)
    return "\n".join(reversed(kept)), False


def _texts_from_the_last(endpoint: Endpoint, body: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(body.get(CONTENT[endpoint][0]))
    if isinstance(instructions := body.get("instructions"), str):
        yield instructions


def _texts(value: Any) -> Iterator[str]:
    """The texts of messages or their parts, the last first."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in reversed(value):
            if isinstance(item, dict):
                yield from _texts(item["text"] if isinstance(item.get("text"), str) else item.get("content"))
            elif isinstance(item, str):
                yield item

"""Duplicates: examples that are the same, or almost. Whoever comes first stays, so the best are to come first.

Two examples are almost the same when the sets of their runs of three words, system prompts aside, have a Jaccard
similarity of the threshold or more, as MinHash with 128 permutations estimates it (its standard error is 0.03 at 0.9).
Candidates are found by locality-sensitive hashing. It is the same in every run and process for the same seed.

Honest weaknesses: pairs near the threshold may fall on either side; long instructions that stand in every question
make different questions alike; other words for the same are not alike. An example that is compared takes about
1.2 kB of memory for as long as the export runs (measured), 0.1 kB of which are the hash that tells the very same.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

from batchmill.errors import SettingsError
from batchmill.pii.library import INSTALL
from batchmill.training.model import Conversation
from batchmill.training.rules import texts_in

PERMUTATIONS: Final = 128
SEED: Final = 42
_RUN: Final = 3
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|\w+")


class Duplicates:
    """What has been seen so far.

    Args:
        threshold: From which similarity on two are almost the same; None = only the same counts.

    Raises:
        SettingsError: The library that compares them is not installed.
    """

    def __init__(self, threshold: float | None) -> None:
        self._exact: set[bytes] = set()
        self._near = _index(threshold) if threshold is not None else None
        self._count = 0

    def is_same(self, line: bytes) -> bool:
        """Whether that very line has been seen; from now on it has."""
        digest = hashlib.sha256(line).digest()[:16]
        if digest in self._exact:
            return True
        self._exact.add(digest)
        return False

    def is_near(self, conversation: Conversation) -> bool:
        """Whether almost the same has been seen; if not, from now on it has."""
        if self._near is None:
            return False
        from rensa import RMinHash

        sketch = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
        sketch.update(list(_runs(conversation)))
        self._count += 1
        return not self._near.add(str(self._count), sketch)


def _index(threshold: float) -> Any:
    try:
        from rensa import RMinHashDeduplicator
    except ImportError as error:
        raise SettingsError("what finds near duplicates is not installed: rensa", INSTALL) from error
    return RMinHashDeduplicator(threshold=threshold, num_perm=PERMUTATIONS, use_lsh=True, seed=SEED)


def _runs(conversation: Conversation) -> Iterator[str]:
    """Every run of three words, system prompts aside; of a shorter text all of it."""
    said = [message for message in conversation.messages if message["role"] != "system"]
    spoken = [message.get("content") for message in said]
    called = [call["function"] for message in said for call in message.get("tool_calls", ())]
    texts = texts_in([*spoken, *called, conversation.prompt, conversation.completion])
    words = _WORD.findall(" ".join(texts).casefold())
    for at in range(max(1, len(words) - _RUN + 1)):
        yield " ".join(words[at : at + _RUN])

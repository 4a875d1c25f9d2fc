"""The two encodings that OpenAI's models of today are counted with, from ranks that ship with the package.

tiktoken would download its ranks at first use and look for a cache in the environment. Here neither happens:
the ranks are data of this package (`rebuild.py` makes them anew), checked against the hash that tiktoken itself
expects. The patterns are tiktoken's own of version 0.14; a test compares both with what tiktoken makes of them.
"""

import base64
import hashlib
import lzma
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING

from batchmill.errors import BatchmillError

if TYPE_CHECKING:
    from tiktoken import Encoding


class EncodingName(StrEnum):
    """tiktoken's names for them."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an encoding is made from.

    Attributes:
        sha256: Of the ranks, one `base64 rank` a line: what tiktoken expects of the file it would download.
        pattern: What text is cut into words with before its bytes are merged.
    """

    sha256: str
    pattern: str


_O200K_PATTERN = "|".join(
    (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    )
)
_CL100K_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"""
    r"""\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
RECIPES: Mapping[EncodingName, Recipe] = {
    EncodingName.O200K: Recipe(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", pattern=_O200K_PATTERN
    ),
    EncodingName.CL100K: Recipe(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", pattern=_CL100K_PATTERN
    ),
}

_loaded: dict[EncodingName, "Encoding"] = {}
_loading = threading.Lock()


def encoding(name: EncodingName) -> "Encoding":
    """The encoding of that name, loaded at first use and once a process, whatever thread asks.

    The first use costs 0.3 to 0.6 s and 40 to 75 MB. Special tokens are text like any other.

    Raises:
        BatchmillError: The ranks that came with the package are damaged.
    """
    loaded = _loaded.get(name)
    if loaded is None:
        with _loading:
            loaded = _loaded.get(name) or _load(name)
            _loaded[name] = loaded
    return loaded


def read_ranks(name: EncodingName) -> bytes:
    """The ranks that ship with the package, one `base64 rank` a line, their hash verified.

    Raises:
        BatchmillError: They are not those that tiktoken expects.
    """
    file = resources.files(__package__) / "ranks" / f"{name}.tiktoken.xz"
    try:
        ranks = lzma.decompress(file.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _damaged(name, str(error)) from error
    if hashlib.sha256(ranks).hexdigest() != RECIPES[name].sha256:
        raise _damaged(name, "their hash is not the one tiktoken expects")
    return ranks


def _load(name: EncodingName) -> "Encoding":
    from tiktoken import Encoding  # 0.05 s, which no command has to spend that does not count

    words = read_ranks(name).split()
    ranks = dict(zip(map(base64.b64decode, words[::2]), map(int, words[1::2]), strict=True))
    return Encoding(name, pat_str=RECIPES[name].pattern, mergeable_ranks=ranks, special_tokens={})


def _damaged(name: EncodingName, why: str) -> BatchmillError:
    return BatchmillError(
        f"the ranks of {name} in this installation are damaged: {why}", "install batchmill anew"
    )

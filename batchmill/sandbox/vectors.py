"""Vectors that stand in for embeddings: made from a hash, with no meaning in them."""

import base64
import math
from array import array
from functools import lru_cache
from hashlib import shake_256
from typing import Final

MOST_DIMENSIONS: Final = 4096


@lru_cache(maxsize=256)
def embed(text: str, dimensions: int) -> "array[float]":
    """A unit vector of 32-bit floats made from the text's hash: same text, same vector; no meaning in it."""
    raw = shake_256(text.encode("utf-8", "replace")).digest(2 * dimensions)
    numbers = [value or 1 for value in memoryview(raw).cast("h")]
    length = math.hypot(*numbers)
    return array("f", (value / length for value in numbers))


def in_base64(vector: "array[float]") -> str:
    """The vector's bytes as OpenAI encodes them."""
    return base64.b64encode(vector.tobytes()).decode("ascii")

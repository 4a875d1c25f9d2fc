"""Formats: each is a module that writes an example and knows the rules by which its vendor takes one."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from batchmill.training.model import Conversation, Format
from batchmill.training.rules import FileRules


class Writer(Protocol):
    """What each of these modules has."""

    RULES: FileRules

    def write(self, conversation: Conversation) -> dict[str, Any]:
        """The example that a conversation is. Raises UnfitError where the format cannot say it."""
        ...

    def faults(self, example: Any) -> Iterator[str]:
        """What is wrong with a line of a file, by the vendor's rules."""
        ...


def writer(format_: Format) -> Writer:
    """The module of a format."""
    module: Writer = import_module(f"batchmill.training.formats.{format_.value}")
    return module

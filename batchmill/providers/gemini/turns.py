"""A conversation with Gemini while it is written: who says what, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batchmill.providers.wire import UntranslatableError

Part = dict[str, Any]

RESOLUTIONS: Final[Mapping[str, str]] = {
    "low": "MEDIA_RESOLUTION_LOW",
    "high": "MEDIA_RESOLUTION_HIGH",
}
"""Gemini's words for the details that OpenAI's images are looked at in; it has none for `auto`."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What has been read of the messages so far.

    Attributes:
        model_fetches: Whether the model fetches URLs.
        instructions: The texts of all system and developer messages, in order.
        names: The functions' names by the ids of the calls.
        details: How closely each image is to be looked at, and other media: `auto`.
    """

    model_fetches: bool
    instructions: list[str] = field(default_factory=list)
    contents: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    details: set[str] = field(default_factory=set)
    _speaker: str = ""

    def say(self, speaker: str, parts: list[Part]) -> None:
        """Add what somebody says; to what the same has just said, if so."""
        if self._speaker == speaker:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": "model" if speaker == "assistant" else "user", "parts": parts})
        self._speaker = speaker

    def resolution(self) -> str | None:
        """Gemini's word for the details that images are looked at in; None leaves it to the model."""
        if len(self.details) > 1:
            raise UntranslatableError(
                "messages", "ask for different details of their media: Gemini takes one for all"
            )
        return next((RESOLUTIONS[detail] for detail in self.details if detail in RESOLUTIONS), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message while it is read."""

    conversation: Conversation
    parts: list[Part] = field(default_factory=list)

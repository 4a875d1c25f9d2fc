"""What training data is made of: answers with their marks, what is wished of an export, why an answer is left out."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

LEAST_RATING, MOST_RATING = 0, 5
GOOD_RATING: Final = 4
"""From here on an answer is good enough to train on, unless another bar is set."""


class Format(StrEnum):
    """Whose fine-tuning a file is for."""

    OPENAI = "openai"
    GEMINI = "gemini"
    MESSAGES = "messages"
    COMPLETION = "completion"


class Reason(StrEnum):
    """Why a marked answer is not in an export."""

    GONE = "gone"
    INCOMPLETE = "incomplete"
    OTHER_ENDPOINT = "other_endpoint"
    SEVERAL_CHOICES = "several_choices"
    NOT_TEXT = "not_text"
    REFUSAL = "refusal"
    MALFORMED = "malformed"
    OLD_FUNCTIONS = "old_functions"
    OTHER_TOOLS = "other_tools"
    NOT_A_CONVERSATION = "not_a_conversation"
    SEVERAL_TURNS = "several_turns"
    BREAKS_RULES = "breaks_rules"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"


MEANINGS: Final[dict[Reason, str]] = {
    Reason.GONE: "its question or its text is no longer in the database",
    Reason.INCOMPLETE: "it did not end by itself: only the finish reasons stop and tool_calls are whole answers",
    Reason.OTHER_ENDPOINT: "its endpoint has no conversations; completions go into the format completion only",
    Reason.SEVERAL_CHOICES: "it has several choices (n > 1), and the mark does not say which is good",
    Reason.NOT_TEXT: "it holds images, sound or files, in which nothing can be redacted",
    Reason.REFUSAL: "the model refused to answer",
    Reason.MALFORMED: "question or answer has another shape than its endpoint's",
    Reason.OLD_FUNCTIONS: "it uses functions and function_call, which tools have replaced",
    Reason.OTHER_TOOLS: "it has tools that are no functions, or whose parameters the format has no words for",
    Reason.NOT_A_CONVERSATION: "a completion has no roles, which this format is made of",
    Reason.SEVERAL_TURNS: "it is more than one question and one text, which is all that prompt and completion can say",
    Reason.BREAKS_RULES: "the vendor's rules refuse it",
    Reason.DUPLICATE: "the same example is there already",
    Reason.NEAR_DUPLICATE: "almost the same example is there already",
}


class UnfitError(Exception):
    """A marked answer that cannot be said in a format.

    Args:
        reason: Why.
        detail: What of it; it holds nothing of the answer's text.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A marked answer with its question, as they are stored.

    Attributes:
        answer_id: Its number.
        question: The body of the request; None when it is gone, as for `answer`.
        finish_reason: As recorded; "" where the endpoint knows none.
    """

    answer_id: int
    endpoint: str
    question: str | None
    answer: str | None
    finish_reason: str
    rating: int | None
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A question and its answer as a chat in OpenAI's shape, the answer last; or a completion, which has no roles.

    Attributes:
        messages: `role`, `content` (a text or None), `tool_calls`, `tool_call_id`; nothing else.
        tools: Function tools.
        thread: What its producer calls the conversation it belongs to; "" where that is not said.
        prompt: Of a completion, as `completion`; None for a chat.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    parallel_tool_calls: bool | None = None
    thread: str = ""
    prompt: str | None = None
    completion: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How an export is wished.

    Attributes:
        redact: Replace what is somebody's.
        near: From which similarity on, from 0 to 1, one of two examples is left out; None = only the same.
        train_share: Of all conversations, from 0 to 1; the rest is for validation.
        seed: Another one splits otherwise.
        filters: What the answers were chosen by, as it was asked for: for the manifest.
        source: What the marks were at that time: for the manifest.
    """

    format: Format = Format.OPENAI
    redact: bool = True
    near: float | None = 0.9
    train_share: float = 0.9
    seed: int = 0
    filters: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

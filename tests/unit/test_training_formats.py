"""Each format says what its vendor takes, or why it cannot; and its rules find what the vendor would refuse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.requests.model import Endpoint
from batchmill.training.conversation import conversation_of
from batchmill.training.formats import writer
from batchmill.training.model import Answered, Format, Reason, UnfitError
from batchmill.training.validate import Checked, bad_lines
from tests.support.training import CALL, TOOL, answered, several_turns


def written(format_: Format, source: Answered) -> Any:
    """The example; it keeps the rules."""
    form = writer(format_)
    example = form.write(conversation_of(source))
    assert list(form.faults(example)) == []
    return example


def test_openai_learns_from_the_last_answer_only() -> None:
    """What the assistant said before has the weight 0; tools go along; developers are the system; names go."""
    assert written(Format.OPENAI, several_turns()) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is order 7?"},
            {"role": "assistant", "tool_calls": [CALL], "weight": 0},
            {"role": "tool", "content": "on its way", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "On its way."},
        ],
        "tools": [TOOL],
        "parallel_tool_calls": False,
    }


def test_gemini_has_turns() -> None:
    """Instructions stand apart, results of functions are the user's, types are in capitals."""
    assert written(Format.GEMINI, several_turns()) == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Where is order 7?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "look_up", "args": {"order": "7"}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "look_up", "response": {"output": "on its way"}}}],
            },
            {"role": "model", "parts": [{"text": "On its way."}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "look_up",
                        "description": "Finds an order.",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"order": {"type": "STRING"}},
                            "required": ["order"],
                        },
                    }
                ]
            }
        ],
    }


def test_hugging_face_has_arguments_as_objects() -> None:
    """And the name of the tool with its result."""
    _, _, call, result, _ = written(Format.MESSAGES, several_turns())["messages"]
    assert call["tool_calls"][0]["function"] == {"name": "look_up", "arguments": {"order": "7"}}
    assert (call["content"], result["name"]) == ("", "look_up")


def test_prompt_and_completion() -> None:
    """One question and one text; of completions as they are."""
    chat = answered(("system", "Be brief."), ("user", "2 + 2?"))
    assert written(Format.COMPLETION, chat) == {"prompt": "Be brief.\n\n2 + 2?", "completion": "Four."}
    plain = Answered(
        answer_id=1,
        endpoint=Endpoint.COMPLETIONS,
        question='{"prompt": "2 + 2 ="}',
        answer='{"choices": [{"text": " 4", "finish_reason": "stop"}]}',
        finish_reason="stop",
        rating=None,
        verified=True,
    )
    assert written(Format.COMPLETION, plain) == {"prompt": "2 + 2 =", "completion": " 4"}
    assert refused(Format.OPENAI, plain) is Reason.NOT_A_CONVERSATION
    assert refused(Format.COMPLETION, several_turns()) is Reason.SEVERAL_TURNS


def refused(format_: Format, source: Answered) -> Reason:
    """Why an answer cannot be said."""
    with pytest.raises(UnfitError) as error:
        writer(format_).write(conversation_of(source))
    return error.value.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (answered(finish_reason="length"), Reason.INCOMPLETE),
        (answered(says={"refusal": "No."}), Reason.REFUSAL),
        (answered(says={"content": None}), Reason.MALFORMED),
        (answered({"role": "user", "content": [{"type": "image_url"}]}), Reason.NOT_TEXT),
        (answered({"role": "function", "name": "f", "content": "x"}), Reason.OLD_FUNCTIONS),
        (answered(functions=[{"name": "f"}]), Reason.OLD_FUNCTIONS),
        (answered(tools=[{"type": "custom"}]), Reason.OTHER_TOOLS),
        (
            answered(tools=[{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/x"}}}]),
            Reason.OTHER_TOOLS,
        ),
    ],
)
def test_what_cannot_be_said(source: Answered, reason: Reason) -> None:
    """It is left out, with the reason."""
    assert refused(Format.GEMINI, source) is reason


def test_what_is_gone_or_of_another_endpoint() -> None:
    """Marked answers whose question has been deleted, embeddings."""
    gone = answered()
    fields = {"answer_id": 1, "answer": gone.answer, "finish_reason": "stop", "rating": 5, "verified": True}
    no_question = Answered(endpoint=Endpoint.CHAT, question=None, **fields)
    embeddings = Answered(endpoint=Endpoint.EMBEDDINGS, question="{}", **fields)
    assert refused(Format.OPENAI, no_question) is Reason.GONE
    assert refused(Format.OPENAI, embeddings) is Reason.OTHER_ENDPOINT


USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
BAD: list[tuple[Format, Any, str]] = [
    (Format.OPENAI, [], "no object"),
    (Format.OPENAI, {"messages": []}, "no array, or empty"),
    (Format.OPENAI, {"messages": [USER]}, "not the assistant's"),
    (Format.OPENAI, {"messages": [ASSISTANT]}, "no message of the user"),
    (Format.OPENAI, {"messages": [{**USER, "role": "developer"}, ASSISTANT]}, "it takes system"),
    (Format.OPENAI, {"messages": [USER, {**ASSISTANT, "weight": 2}]}, "0 or 1"),
    (Format.OPENAI, {"messages": [USER, {**ASSISTANT, "weight": 0}]}, "nothing to learn"),
    (Format.OPENAI, {"messages": [USER, ASSISTANT], "prompt": "x"}, '"prompt"'),
    (Format.OPENAI, {"messages": [USER, {"role": "assistant"}]}, "content is missing"),
    (
        Format.OPENAI,
        {"messages": [{**USER, "content": [{"type": "input_audio"}]}, ASSISTANT]},
        "neither text",
    ),
    (Format.OPENAI, {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}, "no member tools"),
    (
        Format.OPENAI,
        {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, ASSISTANT], "tools": [TOOL]},
        "before the results",
    ),
    (Format.OPENAI, {"messages": [{**USER, "content": "word " * 66_000}, ASSISTANT]}, "at most 65,536"),
    (Format.GEMINI, {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, "not the model's"),
    (
        Format.GEMINI,
        {"contents": [{"role": name, "parts": [{"text": "Hi"}]} for name in ("model", "user", "model")]},
        "take turns",
    ),
    (Format.GEMINI, {"contents": [{"role": "user", "parts": [{"text": ""}]}]}, "or empty"),
    (
        Format.MESSAGES,
        {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]},
        "no object",
    ),
    (Format.COMPLETION, {"prompt": "x"}, "completion is no text"),
    (Format.COMPLETION, {"prompt": "x", "completion": ""}, "nothing to learn"),
]


@pytest.mark.parametrize(("format_", "example", "complaint"), BAD)
def test_what_a_vendor_would_refuse(format_: Format, example: Any, complaint: str) -> None:
    """Each rule, broken once."""
    assert complaint in " ".join(writer(format_).faults(example))


def checked(path: Path, format_: Format = Format.OPENAI) -> Iterator[tuple[int | None, str]]:
    """Everything wrong with a file."""
    for bad in bad_lines(path, format_, Checked()):
        yield bad.line, bad.message


def test_every_bad_line_is_told_with_its_number(tmp_path: Path) -> None:
    """No JSON, an empty line, a broken rule, too few of them; good lines are not told."""
    good = json.dumps({"messages": [USER, ASSISTANT]})
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([good, "{", "", json.dumps({"messages": [USER]}), good]) + "\n")
    told = list(checked(path))
    assert [line for line, _ in told] == [2, 3, 4, None]
    assert "at least 10" in told[-1][1]
    path.write_text((good + "\n") * 10)
    assert list(checked(path)) == []

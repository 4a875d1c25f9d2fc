"""The work: files of chat requests as people send them, every question another."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "gpt-4o-mini"
TALK = """
the order arrived late and its box was broken but support answered within an hour and sent another one free of
charge which I did not expect from a shop of this size so I would buy there again although the colour is not quite
what the pictures show
"""
WORDS_A_QUESTION = 40


def questions(count: int) -> Iterator[dict[str, Any]]:
    """Bodies of so many chat requests, the same ones every time."""
    words = TALK.split()
    draw = random.Random(20_261_120)
    for nth in range(count):
        text = " ".join(draw.choices(words, k=WORDS_A_QUESTION))
        yield {
            "model": MODEL,
            "temperature": 0,
            "max_tokens": 64,
            "messages": [
                {"role": "system", "content": "Is the customer content? Answer with yes or no."},
                {"role": "user", "content": f"Review {nth}: {text}"},
            ],
        }


def write_batch(path: Path, count: int) -> Path:
    """A file of so many requests in OpenAI's batch format, about 450 bytes a line."""
    with path.open("w", encoding="utf-8") as file:
        for nth, body in enumerate(questions(count)):
            line = {"custom_id": f"review-{nth}", "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps(line | {"body": body}) + "\n")
    return path

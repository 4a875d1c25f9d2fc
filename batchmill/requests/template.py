"""Prompt templates: text with `{name}` where a row's value goes, `{{` and `}}` for the braces themselves."""

import re
from collections.abc import Mapping
from typing import Self

from batchmill.errors import MisuseError

_TOKENS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class PromptTemplate:
    """A prompt with places to fill in. A value is put in as it is: braces in it mean nothing.

    Attributes:
        names: What is filled in, each once, in order.

    Raises:
        MisuseError: A brace stands alone, or a place has no name.
    """

    def __init__(self, text: str) -> None:
        self._texts: list[str] = [""]
        self._places: list[str] = []
        end = 0
        for token in _TOKENS.finditer(text):
            self._texts[-1] += text[end : token.start()]
            end = token.end()
            if token[0] in ("{{", "}}"):
                self._texts[-1] += token[0][0]
            elif token[1] is None:
                raise _malformed(text, f"the {token[0]!r} at character {token.start() + 1} stands alone")
            elif not token[1].strip():
                raise _malformed(text, "a place in it has no name")
            else:
                self._places.append(token[1].strip())
                self._texts.append("")
        self._texts[-1] += text[end:]
        self.names = tuple(dict.fromkeys(self._places))

    @classmethod
    def of_column(cls, name: str) -> Self:
        """The template that is the value of one column, whatever its name."""
        template = cls("")
        template._texts, template._places, template.names = ["", ""], [name], (name,)
        return template

    def fill(self, values: Mapping[str, str]) -> str:
        """The prompt for one row, which has a value for every name."""
        parts = [self._texts[0]]
        for name, text in zip(self._places, self._texts[1:], strict=True):
            parts += (values[name], text)
        return "".join(parts)


def _malformed(text: str, why: str) -> MisuseError:
    return MisuseError(
        f"the prompt {text!r} cannot be used: {why}",
        'write {name} where the value of a column goes, {{ and }} for a brace: "Summarise {text}"',
    )

"""Text, as options take it: what can be stored and sent."""

from typing import Any

import click

MAX_NAME_LENGTH = 200


class Text(click.ParamType[str]):
    """Text that can be stored and sent: UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!a} is not UTF-8.", param, ctx)
        return text


class Name(Text):
    """A name for the books: short text, in one line."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx).strip()
        if len(text) > MAX_NAME_LENGTH or not text.isprintable():
            self.fail(f"{text!a} is not one line of at most {MAX_NAME_LENGTH} characters.", param, ctx)
        return text

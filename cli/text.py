"""Text, as options take it: what can be stored and sent."""

from typing import Any

import click

from batchmill.catalogue.entries import check_name
from batchmill.errors import MisuseError
from batchmill.providers.names import ProviderName
from batchmill.routing.names import Target, parse_target

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


class ModelName(click.ParamType[Target]):
    """A model to ask: MODEL of OpenAI's, or PROVIDER/MODEL."""

    name = "provider/model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        if isinstance(value, Target):
            return value
        try:
            target = parse_target(str(value), default_provider=ProviderName.OPENAI)
            if not target.is_auto:
                check_name(target.provider, target.model)
        except MisuseError as error:
            self.fail(f"{error.message}. {error.hint}", param, ctx)
        if target.is_auto:
            self.fail("auto names no model; ask for it as the model itself.", param, ctx)
        return target


class Mailbox(Text):
    """A mail address, with a name or without."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from batchmill.settings.alerts import read_mailbox  # with all that settings bring

        text = super().convert(value, param, ctx).strip()
        try:
            read_mailbox(text)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return text

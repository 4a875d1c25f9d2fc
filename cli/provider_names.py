"""How a provider is named on the command line."""

from typing import Any

import click

from batchmill.providers.names import ProviderName


class Provider(click.ParamType[ProviderName]):
    """One of the providers there are."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ProviderName:
        if value not in set(ProviderName):
            raise click.BadParameter(
                f"{str(value)[:40]!a} is no provider; there are {', '.join(ProviderName)}", ctx, param
            )
        return ProviderName(value)

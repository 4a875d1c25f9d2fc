"""How findings are shown, wherever something is checked."""

from collections.abc import Sequence

import click

from batchmill.findings import Example, Finding, Level
from cli.output import print_table


def tell_findings(findings: Sequence[Finding]) -> None:
    """A table of findings, then what is wrong with each that is not well, where, and what to do."""
    print_table([{"level": f.level.value, "check": f.check, "finding": f.message} for f in findings])
    for finding in findings:
        if finding.level is not Level.OK:
            click.echo(f"\n{finding.level} {finding.check}: {finding.message}")
            for example in finding.examples:
                click.echo(f"  {_where(example)}{example.detail}")
            if finding.has_more:
                click.echo("  and more")
            click.echo(f"  hint: {finding.hint}")


def _where(example: Example) -> str:
    if example.batch is None:
        return ""
    if example.place is None:
        return f"{example.batch}: "
    line = f"{example.batch}, line {example.place}"
    return f"{line}: " if example.attempt is None else f"{line}, call {example.attempt}: "

"""`batchmill doctor`: is everything as it should be?"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from batchmill.findings import Example, Finding, Level
from cli.home import home_option, settings_at
from cli.output import json_option, print_json, print_table


@click.command()
@click.option(
    "--witness",
    metavar="CALLLOG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Hold this log of `batchmill sandbox --log` against the books, too.",
)
@home_option
@json_option
def doctor(witness: Path | None, home: Path | None, as_json: bool) -> int:
    """Check the installation and the books, and mend nothing.

    Looks at the surroundings (database, broker, workers, disk, key), then checks every promise that the
    database has to keep at any moment, also while workers are running. Exit status 1 if something is broken;
    warnings do not count.
    """
    from workers.doctor import examine

    findings = list(examine(settings_at(home), witness))
    is_well = all(finding.level is not Level.FAILURE for finding in findings)
    if as_json:
        print_json({"well": is_well, "findings": [_as_json(finding) for finding in findings]})
    else:
        _tell(findings)
    return 0 if is_well else 1


def _as_json(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"examples": [asdict(example) for example in finding.examples]}


def _tell(findings: list[Finding]) -> None:
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

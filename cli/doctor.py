"""`batchmill doctor`: is everything as it should be?"""

from pathlib import Path

import click

from cli.findings import tell_findings
from cli.home import home_option, settings_at
from cli.output import json_option, print_json


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
    from batchmill.findings import findings_view, is_well
    from workers.doctor import examine

    findings = list(examine(settings_at(home), witness))
    if as_json:
        print_json(findings_view(findings))
    else:
        tell_findings(findings)
    return 0 if is_well(findings) else 1

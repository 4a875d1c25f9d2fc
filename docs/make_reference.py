"""Makes the reference pages that the code itself can tell: `python docs/make_reference.py` writes them anew.

A test compares what stands in the repository with what this makes, so that neither drifts from the code.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from batchmill.settings.fields import accepted_by, as_text, variables_of
from batchmill.settings.groups import Group, Settings
from cli.main import batchmill
from docs.http_page import http_page, openapi_document
from docs.metrics_page import metrics_page
from docs.provider_page import providers_page

REFERENCE = Path(__file__).parent / "reference"
WIDTH = 100

TITLES = {"openai": "OpenAI", "openrouter": "OpenRouter", "local": "Local models"}
DEFAULTS_IN_WORDS = {"DATABASE_URL": "`batchmill.db` in the home (SQLite)", "BROKER_URL": "one in the home"}


def cli_page() -> str:
    """The commands, each with its `--help`."""
    parts = [
        "# The command line",
        "Made from `--help` by `python docs/make_reference.py`.",
        "Data goes to standard output, everything else to standard error."
        " Every command takes its settings from [variables](settings.md).",
        "| exit status | meaning |\n|---|---|\n"
        "| 0 | done; for `run`, `results` and `status --watch`: every line is answered |\n"
        "| 1 | refused or failed; for those three also: not every line is answered |\n"
        "| 2 | misused: a wrong option, or a setting that cannot be used |\n"
        "| 130 | interrupted by Ctrl-C, SIGTERM or SIGHUP; the same command goes on |",
    ]
    for name, text in _helps(batchmill, "batchmill"):
        parts += [f"## {name}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _helps(
    command: click.Command, name: str, above: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command, info_name=name.split()[-1], parent=above, terminal_width=WIDTH, **command.context_settings
    )
    yield name, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            yield from _helps(inner, f"{name} {sub}", context)


def settings_page() -> str:
    """The variables, by group."""
    parts = [
        "# Settings",
        "Made from the code by `python docs/make_reference.py`.",
        "A variable of the environment counts first, then one in the file that `BATCHMILL_SECRETS` names, then one"
        " in a `.env` file in the working directory, then the default. An empty value means “not set”, and hides what"
        " later places say."
        " `batchmill config` shows what is in force and where it comes from, secrets masked. A value that"
        " cannot be used stops the start (exit status 2) and names its variable.",
        "## In general",
        _table(Settings),
        *_groups(),
        "## Apart from these",
        "| variable | default | meaning | accepts |\n|---|---|---|---|\n"
        "| `BATCHMILL_DEBUG` | not set | Show the stack trace of an unexpected error. | anything but 0 |",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _groups() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Group):
            yield f"## {TITLES.get(name, name.capitalize())}"
            yield (group.__doc__ or "").strip()
            yield _table(group)


def _table(group: type[Group]) -> str:
    rows = ["| variable | default | meaning | accepts |", "|---|---|---|---|"]
    for field in group.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            continue
        names = variables_of(field)
        default = DEFAULTS_IN_WORDS.get(names[0]) or _code(as_text(field.default))
        shown = " or ".join(f"`{name}`" for name in names)
        rows.append(f"| {shown} | {default} | {field.description} | {accepted_by(field)} |")
    return "\n".join(rows)


def _code(text: str | None) -> str:
    return f"`{text}`" if text else "not set"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "providers.md": providers_page,
    "http.md": http_page,
    "metrics.md": metrics_page,
    "openapi.json": openapi_document,
}


def main() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()

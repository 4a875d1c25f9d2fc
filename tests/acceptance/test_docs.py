"""The documentation says what is true of the code beside it."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import cli.alert_output
import cli.keys
import cli.run
import cli.tokens
from batchmill.alerts import budget
from batchmill.alerts import health as alert_health
from batchmill.catalogue import views as catalogue_views
from batchmill.errors import BatchmillError
from batchmill.money.rates import Unpriced
from batchmill.pipeline import CANCELLED
from batchmill.providers import signals, verdicts
from batchmill.requests import judge
from batchmill.routing.addressing import UNSUPPORTED
from batchmill.routing.router import NO_MODEL_LEFT
from batchmill.routing.selection import NO_MODEL_FITS
from cli import catalogue_output, explain_output, reconcile_output
from cli.main import COMMANDS, batchmill
from db.audit import CHECKS
from db.sweep import LOST
from docs.make_reference import PAGES, REFERENCE
from tests.support.mill import PATIENCE_S, Mill, sandbox
from workers import (
    alert_views,
    budget_audit,
    budget_history,
    budget_views,
    cache_views,
    provider_views,
    quote_views,
    timekeeping,
    training_views,
    usage,
    views,
)
from workers.delivery import _ENDED_EARLY
from workers.health import standing

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*batchmill ([a-z]+)\b([^\n#|]*)", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CHANGES_EACH_TIME = (
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:PORT"),
    (re.compile(r" in \d+\.\d s:"), " in N s:"),
)
_PROGRESS = re.compile(r"^(\d+ of \d+ · |reading: |writing )")


@pytest.mark.parametrize("page", PAGES)
def test_reference_pages_are_what_the_code_makes(page):
    """Options and settings are told as they are; `python docs/make_reference.py` makes the pages anew."""
    assert (REFERENCE / page).read_text(encoding="utf-8") == PAGES[page]()


@pytest.mark.timeout(90)
def test_readme_shows_what_the_demo_prints(tmp_path):
    """The README's demo is the demo's output: same answers, calls and cost, with no key, and no traces left."""
    done = subprocess.run(
        ["bash", ROOT / "examples" / "demo.sh"],
        env=os.environ
        | {
            "BIN": str(Path(sys.executable).parent),
            "DEMO_FOLDER": str(tmp_path / "demo"),
            "TMPDIR": str(tmp_path),
            "DATABASE_URL": "postgresql://nobody@nowhere.invalid/none",
        },
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = (
        README.read_text(encoding="utf-8")
        .split("<!-- demo:", 1)[1]
        .split("```text\n", 1)[1]
        .split("```", 1)[0]
    )
    assert _stable(done.stdout) == _stable(shown)
    assert not list(tmp_path.glob("batchmill-demo.*"))


def _stable(output: str) -> list[str]:
    """A demo's lines less times, ports and progress; in part 3 less the numbers, which hang on the kill's moment."""
    before, heading, after = output.partition("# 3. ")
    lines = [line for line in before.splitlines() if not _PROGRESS.match(line)]
    lines.append(heading)
    for line in after.splitlines():
        if not _PROGRESS.match(line):
            lines.append(re.sub(r"\$?\d+(\.\d+)?( calls?\b)?", "N", line.replace("40 of 40", "all of them")))
    for pattern, stable in _CHANGES_EACH_TIME:
        lines = [pattern.sub(stable, line) for line in lines]
    return lines


def test_readme_explains_the_difference_it_shows():
    """The dollars named below the demo are those of its last part: the provider's bill less what is known."""
    text = README.read_text(encoding="utf-8")
    part = text.split("# 3. ", 1)[1].split("```", 1)[0]
    known = float(re.search(r"from the cache, \$([\d.]+)", part)[1])
    billed = float(part.rsplit("$", 1)[1])
    named = float(re.search(r"the provider charged \$([\d.]+) more", text)[1])
    assert named == pytest.approx(billed - known)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document):
    """Every link within the repository leads to a file, and to a heading where it names one."""
    for target in _LINK.findall(_FENCED.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_named_exists(document):
    """`batchmill` commands and `make` targets in the documents are there, with the options shown."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    code = "\n".join([*_FENCED.findall(text), *re.findall(r"`([^`\n]+)`", _FENCED.sub("", text))])
    for name, rest in _COMMAND.findall(code):
        assert name in COMMANDS, f"batchmill {name}"
        command = batchmill.get_command(click.Context(batchmill), name)
        assert command is not None
        if isinstance(command, click.Group) and (words := rest.split()):
            command = command.get_command(click.Context(command), words[0])
            assert command is not None, f"batchmill {name}{rest}"
        options = {option for param in command.params for option in param.opts} | {"--help"}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= options, f"batchmill {name}{rest}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^\s*make ([a-z-]+)", code, re.MULTILINE)) <= targets


@pytest.mark.timeout(300)
def test_the_examples_of_simple_inputs_run(mill: Mill, tmp_path: Path) -> None:
    """Each file that the page shows is read by each command that the page shows, and every line is answered."""
    page = (ROOT / "docs" / "how-to" / "simple-inputs.md").read_text(encoding="utf-8")
    files = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert (len(files), len(commands)) == (3, 7)
    for name, content in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with sandbox(tmp_path) as witness:
        for command in commands:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                env=mill.environment()
                | {
                    "OPENAI_BASE_URL": witness.url,
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                },
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
    bodies = [json.loads(body) for (body,) in mill.query("SELECT body FROM inputs ORDER BY request_id")]
    texts = [body["messages"][-1]["content"] if "messages" in body else body["input"] for body in bodies]
    review = "Zwei Schrauben fehlten.\nSonst in Ordnung."
    assert texts[0] == "Capital of Peru? One word."
    assert texts[4] == f"Summarise this German review in five words: {review}"
    assert texts[5] == "Answer this 2-star comment: Too loud."
    assert texts[8] == texts[10] == review
    assert (tmp_path / "summaries.jsonl").read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("page", [README, GUARANTEES], ids=lambda page: page.name)
def test_every_test_named_exists(page):
    """What is said to stand behind a promise does."""
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    defined = {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert named <= defined


def test_every_guarantee_has_something_behind_it():
    """Each row of its tables that promises names a test, or the page with the figures."""
    promises = False
    for line in GUARANTEES.read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not promises:
            promises = line.rstrip(" |").endswith(("tested by", "shown by"))
        elif not line.startswith("|"):
            promises = False
        elif promises and not line.startswith("|---"):
            assert "`test_" in line or "(benchmarks.md)" in line, line


def test_every_code_is_explained():
    """Each error code and each reason for an unknown cost that the product makes up has its line."""
    page = (REFERENCE / "output.md").read_text(encoding="utf-8")
    codes = {code for _, code in verdicts._CAUSES} | {"connect_failed", "connect_timeout", "call_failed"}
    codes |= {CANCELLED.error_code, LOST.error_code, verdicts.MALFORMED}
    codes |= {signals.REQUEST_TOO_LARGE, signals.REDIRECTED, UNSUPPORTED, NO_MODEL_FITS, NO_MODEL_LEFT}
    codes |= {code for code, _ in _ENDED_EARLY.values()}
    codes |= {reason.value for reason in Unpriced} | {judge.NOT_KNOWN.reason}
    for source in (ROOT / "batchmill" / "requests").glob("*.py"):
        text = source.read_text(encoding="utf-8")
        codes |= set(re.findall(r'Fault\(\s*"(\w+)"', text))
    assert not {code for code in codes if f"`{code}`" not in page}


@pytest.mark.parametrize(
    "made_by",
    [
        views.view,
        views.view_with_pace,
        views.circuit_view,
        cli.run._as_json,
        usage.view,
        usage.group_view,
        cache_views.exact,
        cache_views.contents_view,
        cli.keys._as_json,
        cli.tokens._row,
        catalogue_views.view,
        catalogue_output.tell_setup,
        standing.standing_view,
        standing.state_view,
        standing.change_view,
        provider_views.limits_view,
        provider_views.standing_view,
        explain_output._line_as_json,
        explain_output._history_as_json,
        explain_output._plan_as_json,
        explain_output._link_as_json,
        explain_output._selection_as_json,
        explain_output._considered_as_json,
        explain_output._call_as_json,
        explain_output._step_as_json,
        quote_views.view,
        quote_views._model_view,
        quote_views._tally_view,
        quote_views._estimate_view,
        alert_views.view,
        alert_views._delivery_view,
        cli.alert_output.show_trials,
        budget._facts,
        alert_health.HealthAlert._facts,
        budget_views.view,
        budget_views.period_view,
        budget_history.view,
        budget_audit._period_view,
        budget_audit.view,
        timekeeping.view,
        timekeeping.run_view,
        reconcile_output.show_unknown,
        reconcile_output._call_as_json,
        reconcile_output._as_json,
        reconcile_output._period_as_json,
        training_views.mark_view,
        training_views.standing_view,
    ],
    ids=lambda function: f"{function.__module__}.{function.__name__}",
)
def test_every_field_of_json_is_explained(made_by):
    """Each name that a program finds in what `--json` prints stands on the page about that."""
    page = (REFERENCE / "reports.md").read_text(encoding="utf-8")
    fields = set(re.findall(r'^\s*"(\w+)": ', inspect.getsource(made_by), re.MULTILINE))
    fields |= set(re.findall(r'[{,] ?"(\w+)": ', inspect.getsource(made_by)))
    assert fields
    assert not {field for field in fields if f"`{field}`" not in page and f'"{field}":' not in page}


def test_every_check_of_the_doctor_is_explained():
    """Each promise that is checked has its line, with its number and in the same words."""
    page = (REFERENCE / "doctor.md").read_text(encoding="utf-8").lower()
    for check in CHECKS:
        assert f"| `{check.name}` | {check.invariant} | {check.promise.lower()}. |" in page


def test_every_decision_is_in_the_index():
    """The decisions are numbered without a gap and listed."""
    pages = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert [name[:4] for name in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert all(name in index for name in pages)


def test_every_exit_status_is_explained():
    """The command line's page tells of every status that an error ends with."""

    def statuses(error: type[BatchmillError]) -> set[int]:
        return {error.exit_code}.union(*map(statuses, error.__subclasses__()))

    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert all(f"| {status} |" in page for status in statuses(BatchmillError) | {0})

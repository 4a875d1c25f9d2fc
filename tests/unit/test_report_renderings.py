"""A report as text, JSON, HTML, CSV, picture and mail: nothing left out, nothing broken by anybody's name."""

import csv
import io
import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchmill.reports.chart import HEIGHT, WIDTH, axis_labels, chart_png, chart_words, round_top
from batchmill.reports.facts import read_facts, write_facts
from batchmill.reports.formats import ReportFormat, rendered
from batchmill.reports.html import html_of
from batchmill.reports.identity import message_id_of
from batchmill.reports.mail import mail_of
from batchmill.reports.model import (
    BudgetState,
    CacheUse,
    DaySpend,
    Dimension,
    Failure,
    PausedBatch,
    Ranking,
    Report,
    Share,
    Spend,
)
from batchmill.reports.sheet import sheet_of
from batchmill.reports.text import text_of
from batchmill.settings.alerts import read_mailbox
from tests.support.reports import MADE_MS, a_quiet_report, a_report, dollars, share, spend

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.test/x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://evil.test")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "-2+3",
    "name\r\nBcc: evil@acme.test",
    "red\x1b[31m\x00\u202ereversed",
    "`code` & more",
)
SENDER, RECIPIENT = read_mailbox("Mill <mill@acme.test>"), read_mailbox("a@acme.test")


def of_names(*names: str, longest: int = 200) -> Report:
    """A report in which everything that somebody may name has these names."""
    shares = tuple(
        Share(name=name[:longest], spend=spend(9.5, 100, hits=3, unpriced=1), before_nanos=dollars(5))
        for name in names
    )
    return a_report(
        rankings=tuple(
            Ranking(dimension=dimension, shares=shares, movers=shares, names=len(shares)) for dimension in Dimension
        ),
        cache_by_type=tuple(CacheUse(name=name, requests=500, hits=100) for name in names),
        failures=tuple(Failure(code=name, calls=9) for name in names),
        paused=tuple(
            PausedBatch(batch=name, job_name=name, tenant=name, reason=name, open_lines=3) for name in names
        ),
        budgets=tuple(
            BudgetState(
                title=f"the daily budget of tenant {name}", limit_nanos=dollars(10), spent_nanos=dollars(12),
                start_ms=0, end_ms=MADE_MS,
            )
            for name in names
        ),
    )  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and what is fetched for it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "background")]


def mail(report: Report) -> EmailMessage:
    """Its mail, as a receiver reads it."""
    made = mail_of(report, sender=SENDER, recipient=RECIPIENT, message_id="report-x@acme.test")
    read = message_from_bytes(bytes(made), policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def test_facts_are_kept_whole() -> None:
    """Read back, a report is what it was; one of another version, too, with more fields or less."""
    for report in (a_report(), a_quiet_report()):
        assert read_facts(write_facts(report)) == report
    facts = orjson.loads(write_facts(a_report()))
    facts["of_a_later_version"] = {"x": 1}
    del facts["cache_by_type"]
    assert read_facts(orjson.dumps(facts).decode()) == replace(a_report(), cache_by_type=())


def test_hostile_names_are_text() -> None:
    """Nothing in a name becomes a tag, a template, a formula, a header, or steers a terminal."""
    report = of_names(*HOSTILE)
    received = mail(report)
    assert received["Bcc"] is None
    assert (
        received["Subject"] == "[batchmill] at least $41.20 yesterday (+12 %), 62 % of month, forecast $1,118"
    )
    page = received.get_body(("html",)).get_content()  # type: ignore[union-attr]
    tags = Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "iframe", "link", "form", "object"}
    assert [source.partition(":")[0] for source in tags.sources] == ["cid"]
    assert "{{ 7 * 7 }}{% raw %}" in page
    assert all(char.isprintable() or char == "\n" for char in text_of(report))
    for row in csv.reader(io.StringIO(sheet_of(report))):
        assert not row[1].lstrip().startswith(("=", "+", "-", "@")), row


def test_it_stays_below_what_mail_programs_cut_off() -> None:
    """Ten long names of everything there is: the HTML has less than 100 KB, and names are shortened."""
    names = [f"{nth} " + "<&>" * 70 for nth in range(10)]
    report = of_names(*names)
    page = html_of(report, chart_src="cid:chart")
    assert len(page.encode()) < 100_000
    assert len(mail(report).get_body(("html",)).get_content().encode()) < 100_000  # type: ignore[union-attr]
    assert "…" in page


@pytest.mark.parametrize("report", [a_report(), a_quiet_report()], ids=["full", "quiet"])
def test_html_needs_nothing_from_elsewhere(report: Report) -> None:
    """No script, no font, no picture but its own; styles are in place, and it says how it looks in the dark."""
    page = rendered(report, ReportFormat.HTML).decode()
    tags = Tags()
    tags.feed(page)
    assert all(source.startswith("data:image/png;base64,") for source in tags.sources)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)
    assert "prefers-color-scheme" in page
    assert re.search(r'<td class="name" style="[^"]*border', page) or report.spend.is_quiet
    assert '<html lang="en">' in page


def test_a_quiet_day_is_told() -> None:
    """In every form: there were no calls."""
    report = a_quiet_report()
    assert text_of(report).startswith("no calls yesterday, $0.00 this month, forecast: insufficient data")
    assert "No calls yesterday" in html_of(report, chart_src="cid:chart")
    assert chart_words(report.days).endswith("nothing on 30 days.")
    assert next(csv.DictReader(io.StringIO(sheet_of(report))))["calls"] == "0"
    assert orjson.loads(rendered(report, ReportFormat.JSON))["spend"]["cost_usd"] == "0"


def test_what_is_not_known_is_told_everywhere() -> None:
    """Unknown costs are never silently nothing."""
    report = a_report()
    for form in (text_of(report), html_of(report, chart_src="")):
        words = " ".join(re.sub(r"<[^>]*>", " ", form).split()).lower()
        assert "3 calls whose outcome is not known and 12 answers without a known price" in words
        assert "at least $41.20" in words
        assert "not known" in words
    [model] = [
        row for row in csv.DictReader(io.StringIO(sheet_of(report))) if row["name"] == "local/llama-3.3-70b"
    ]
    assert (model["cost_usd"], model["unpriced"]) == ("0", "12")
    shown = orjson.loads(rendered(report, ReportFormat.JSON))
    assert (shown["spend"]["unknown"], shown["spend"]["unpriced"]) == (3, 12)


def test_the_chart_in_pixels_and_in_words() -> None:
    """Twice the size at which it is shown, a few kilobytes; the words say what it shows, and what is not known."""
    report = a_report()
    image = Image.open(io.BytesIO(chart_png(report.days)))
    assert image.size == (2 * WIDTH, 2 * HEIGHT)
    assert len(chart_png(report.days)) < 20_000
    assert chart_png(report.days) == chart_png(report.days)
    assert chart_words(report.days) == (
        "Spend per day from 21 October to 19 November: $41.20 on the last day, $27.03 on average, most on 17 November"
        " with $49.00, nothing on 2 days, not all costs known on 1 day."
    )
    assert chart_png(()) != chart_png(report.days)
    dearest = (DaySpend(day="2026-11-05", spend=Spend(cost_nanos=2**63 - 1)),)
    assert Image.open(io.BytesIO(chart_png(dearest))).size == (2 * WIDTH, 2 * HEIGHT)


@given(st.integers(0, 2**63 - 1))
def test_labels_have_room_and_differ(nanos: int) -> None:
    """Whatever is spent: the chart's scale reaches it, and its labels are short and tell its lines apart."""
    labels = axis_labels(round_top(nanos))
    assert nanos <= round_top(nanos)
    assert max(map(len, labels)) <= 8
    assert len(set(labels)) == len(labels) == (5 if nanos > 4 else 1)


def test_the_mail() -> None:
    """Text, the same as HTML with its picture, and the table; headers by which programs know what it is."""
    report = a_report()
    received = mail(report)
    assert [part.get_content_type() for part in received.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/csv",
    ]
    assert received["Message-ID"] == "<report-x@acme.test>"
    assert received["Date"] == "Fri, 20 Nov 2026 01:00:00 +0000"
    assert (received["Auto-Submitted"], received["To"]) == ("auto-generated", "a@acme.test")
    assert received["List-Id"] == "batchmill reports <reports.batchmill.acme.test>"
    [html] = [part for part in received.walk() if part.get_content_type() == "text/html"]
    [picture] = [part for part in received.walk() if part.get_content_type() == "image/png"]
    assert f'src="cid:{picture["Content-ID"].strip("<>")}"' in html.get_content()
    assert f'alt="{chart_words(report.days)}"' in html.get_content()
    [table] = received.iter_attachments()
    assert table.get_filename() == "batchmill-daily-2026-11-19.csv"
    assert table.get_content().lstrip("\ufeff").replace("\r\n", "\n") == sheet_of(report).replace(
        "\r\n", "\n"
    )
    again = mail_of(report, sender=SENDER, recipient=RECIPIENT, message_id="report-x@acme.test")
    assert bytes(again) == bytes(
        mail_of(report, sender=SENDER, recipient=RECIPIENT, message_id="report-x@acme.test")
    )


def test_a_message_id_is_of_installation_report_and_recipient() -> None:
    """The same each time, another for each of them, and nobody's address in it."""
    facts = {"installation": "i", "recipient": "secret.name@acme.test", "domain": "acme.test"}
    first = message_id_of(a_report(), **facts)
    assert first == message_id_of(a_report(spend=Spend()), **facts)
    others = [message_id_of(a_report(), **facts | {name: f"{value}2"}) for name, value in facts.items()]
    assert len({first, *others}) == 4
    assert first.startswith("report-daily-2026-11-19-")
    assert "secret" not in first


def test_names_that_are_missing() -> None:
    """Who has no name is shown as such; where nobody has one, the table is left out."""
    text = text_of(
        a_report(rankings=(Ranking(dimension=Dimension.USER, shares=(share("", 1, 0, 1),), names=1),))
    )
    assert "USERS" not in text
    mixed = (share("", 1, 0, 1), share("acme/alice", 2, 1, 1))
    assert "(none)" in text_of(a_report(rankings=(Ranking(dimension=Dimension.USER, shares=mixed, names=2),)))

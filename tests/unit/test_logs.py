"""Logs: secrets never, what was asked and answered at the debug level only."""

import contextlib
import io

import pytest
import structlog

from batchmill.logs import WITHHELD, configure_logs, withhold
from batchmill.settings.groups import LogFormat, LogLevel, LogSettings


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_keys_are_withheld_at_every_level(level):
    """A field that holds a key is blanked whatever is logged."""
    assert withhold(None, level, {"event": "call_sent", "api_key": "sk-1"})["api_key"] == WITHHELD


@pytest.mark.parametrize(("level", "shown"), [("debug", "hi"), ("info", WITHHELD), ("error", WITHHELD)])
def test_content_shows_at_the_debug_level_only(level, shown):
    """Prompts and answers are the user's own."""
    event = withhold(None, level, {"event": "call_sent", "messages": "hi", "request_id": 7})
    assert event == {"event": "call_sent", "messages": shown, "request_id": 7}


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_events_below_the_level_are_dropped(capfd, log_format):
    """The level of the settings is obeyed, in either format, on standard error."""
    configure_logs(LogSettings(level=LogLevel.WARNING, format=log_format))
    log = structlog.get_logger()
    log.info("lease_renewed")
    log.warning("lease_lost", worker="w1")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "lease_renewed" not in captured.err
    assert "lease_lost" in captured.err


def test_events_go_by_the_configuration_of_now():
    """A logger that was used before goes where the newest configuration sends it, also when the old place is gone."""
    log = structlog.get_logger()
    for _ in range(2):
        with io.StringIO() as place, contextlib.redirect_stderr(place):
            configure_logs(LogSettings(level=LogLevel.WARNING))
            log.warning("lease_lost")
            assert place.getvalue().count("lease_lost") == 1

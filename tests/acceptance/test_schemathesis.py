"""Whatever the OpenAPI document allows, and much that it forbids, is asked: no answer is a 5xx or breaks the document.

`BATCHMILL_SCHEMATHESIS_S=600` asks at random for so many seconds instead of the same questions each time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.support.mill import Mill, chat_line, sandbox
from tests.support.openai_service import CHAT
from tests.support.servers import PostgresCluster

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECONDS = int(os.environ.get("BATCHMILL_SCHEMATHESIS_S", "0"))
EXAMPLES = 3
BOUND_S = 400
MADE = 12
"""So many files, and so many batches, are there to be asked for, steered and deleted."""

CONFIG = """
request-timeout = 10
continue-on-failure = true
max-stream-events = 3
headers = {{ Authorization = "Bearer ${{SERVICE_KEY}}" }}

[phases.coverage]
unexpected-methods = ["OPTIONS"]

# What a schema does not say of these: whether a name is one of a model, a file is JSON Lines, a cursor one of ours.
[[operations]]
include-path-regex = "^/v1/(files|batches|batches/quote|batches/.*/(results|events)|(chat/)?completions)$"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path-regex = "^/(v1/(embeddings|responses|moderations)|admin/.*)$"
include-method = "POST"
checks.positive_data_acceptance.enabled = false

[dictionaries]
files = {{ values = {files} }}
batches = {{ values = {batches} }}

[parameters]
"path.file_id" = {{ dictionary = "files", probability = 0.5 }}
"path.batch_id" = {{ dictionary = "batches", probability = 0.5 }}
"body.input_file_id" = {{ dictionary = "files", probability = 0.5 }}
"""


def known(client: OpenAI) -> tuple[list[str], list[str]]:
    """Files and batches of all kinds: answered, refused, and not valid."""
    lines = [
        chat_line("r1", "one"),
        chat_line("r1", "one", stream=True),
        chat_line("r1", "one", model="sandbox/400"),
    ]
    files = [
        client.files.create(file=("in.jsonl", lines[n % len(lines)].encode()), purpose="batch").id
        for n in range(MADE)
    ]
    batches = [
        client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h").id for file in files
    ]
    return files, batches


@pytest.fixture
def installation(mill: Mill, request: pytest.FixtureRequest) -> Iterator[tuple[Mill, str]]:
    """One on the database that is asked for, and the command that serves it."""
    mill.environ |= {"BATCHMILL_KEY_RPM": "1000000", "BATCHMILL_GRACE_S": "1"}
    if request.param == "sqlite":
        yield mill, "up"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.create()
    mill.environ |= {
        "DATABASE_URL": url,
        "BROKER_URL": request.getfixturevalue("valkey_url"),
        "BATCHMILL_KEYS_SECRET": "k" * 64,
    }
    yield mill, "serve"
    mill.kill_everything()
    cluster.drop(url)


@pytest.mark.timeout(BOUND_S + SECONDS + 60)
@pytest.mark.parametrize(
    ("installation", "phases"),
    [("sqlite", "examples,coverage,fuzzing,stateful"), ("postgresql", "examples,fuzzing")],
    indirect=["installation"],
    ids=["sqlite", "postgresql"],
)
def test_nothing_that_is_asked_breaks_the_document(
    installation: tuple[Mill, str], phases: str, tmp_path: Path
) -> None:
    """With an admin's key, every route: by examples, at the edges of what is allowed and beyond them, at random, and in
    the order in which one answer leads to another."""
    mill, command = installation
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        key = mill.quickly("keys", "create", "--scope", "admin").stdout.strip()
        with (
            mill.up("--require-keys", command=command) as up,
            OpenAI(base_url=f"{up.url}/v1", api_key=key) as client,
        ):
            done = asked(up.url, key, phases, *known(client), folder=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            assert up.process.poll() is None
    assert "Traceback" not in (mill.home / "logs" / "service.log").read_text()


def asked(
    url: str, key: str, phases: str, files: list[str], batches: list[str], *, folder: Path
) -> subprocess.CompletedProcess[str]:
    """What schemathesis makes of a service."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG.format(files=json.dumps(files), batches=json.dumps(batches)))
    how_long = (
        ["--max-time", str(SECONDS)]
        if SECONDS
        else ["--generation-deterministic", "--max-examples", str(EXAMPLES)]
    )
    return subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", config, "--no-color"),
            *("run", f"{url}/openapi.json", "--phases", phases, "--warnings", "off", *how_long),
        ],
        env=os.environ | {"SERVICE_KEY": key},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BOUND_S + SECONDS,
        check=False,
    )

"""Part `client`: what a producer pays for: the import, the making of lines, the reading of results."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

import orjson

from batchmill.client.lines import LineMaker, RequestSource
from batchmill.client.results import read_result
from batchmill.client.uploads import Upload
from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.stage import Stage

IMPORT = "import of the client, above Python's own start, s"
MADE = "prompts made lines of an upload, lines/s"
TARGETS: Mapping[str, AtLeast | AtMost] = {IMPORT: AtMost(0.1), MADE: AtLeast(20_000)}
STARTS = 7


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """In this process, without a service: what the service can take is another part's."""
    lines = stage.sizes.ingest_lines
    yield (
        Part.CLIENT,
        {
            IMPORT: max(0.0, _started("from batchmill import Client") - _started("pass")),
            MADE: lines / _made(lines),
            "results read, lines/s": lines / _read(lines),
        },
    )


def _started(code: str) -> float:
    """How long a fresh Python takes for it at best: whatever else runs on the machine only ever adds to it.

    Compiled modules are kept meanwhile, as those of an installed package are.
    """
    took = []
    with tempfile.TemporaryDirectory() as compiled:
        kept = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(STARTS):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | kept)
            took.append(time.perf_counter() - begun)
    return min(took)


def _made(lines: int) -> float:
    prompts = (f"question {number}: what is it?" for number in range(lines))
    source = RequestSource(requests=prompts, maker=LineMaker(model="gpt-4o-mini"))
    begun = time.perf_counter()
    for _ in Upload(source, fields={}, filename="requests.jsonl"):
        pass
    return time.perf_counter() - begun


def _read(lines: int) -> float:
    body = {
        "model": "gpt-4o-mini",
        "choices": [{"message": {"role": "assistant", "content": "so it is " * 20}}],
    }
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    told = {"id": "batch_req_b_1", "custom_id": "1", "response": response, "error": None}
    line = orjson.dumps(told)
    begun = time.perf_counter()
    for _ in range(lines):
        read_result(line)
    return time.perf_counter() - begun

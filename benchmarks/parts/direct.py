"""Part `direct`: single calls through the service, beside the same calls to the provider itself, in turn."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from benchmarks.direct_calls import WAYS
from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.parts.service import serving
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Stage

ROOT = Path(__file__).parents[2]
TARGETS: Mapping[str, AtLeast | AtMost] = {}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One call after the other, on each database."""
    for store in stage.sizes.stores:
        provider = stage.provider()
        with serving(stage, store, provider) as running:
            took = _measure(
                provider.url,
                running.client.url + "/v1",
                running.client.token or "none",
                stage.sizes.direct_calls,
            )
        yield Part.DIRECT, {f"{store}: {name}": value for name, value in _figures(took).items()}


def _measure(provider: str, service: str, key: str, calls: int) -> Mapping[str, Sequence[float]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.direct_calls", provider, service, str(calls)],
        cwd=ROOT,
        input=key,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"a call failed: {done.stderr[-2000:]}")
    took: dict[str, list[float]] = json.loads(done.stdout)
    return took


def _figures(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median and the 99th percentile of every way, and what the service adds to each client."""
    half = {name: median(took[name]) for name in WAYS}
    most = {name: quantiles(took[name], n=100)[98] for name in WAYS}
    found = {f"{name}: p50, ms": half[name] for name in WAYS} | {
        f"{name}: p99, ms": most[name] for name in WAYS
    }
    for client in ("bare", "SDK"):
        direct, through = f"{client} to the provider", f"{client} through the service"
        found[f"{client}: the service adds at p50, ms"] = half[through] - half[direct]
        found[f"{client}: the service adds at p99, ms"] = most[through] - most[direct]
    return found

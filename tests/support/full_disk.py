"""A disk that can be full: for commands whose environment says so, as long as the test wants it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What a folder is on.

    Attributes:
        environ: What commands have to be started with to be refused.
    """

    environ: dict[str, str]
    _flag: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing more can be written to the folder as long as the context lasts."""
        self._flag.touch()
        try:
            yield
        finally:
            self._flag.unlink()


def disk_of(folder: Path, made_in: Path) -> Disk:
    """The disk of a folder; what it takes is compiled."""
    library, flag = made_in / "full_disk.so", made_in / "disk-is-full"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    environ = {
        "LD_PRELOAD": str(library),
        "FULL_DISK_FLAG": str(flag),
        "FULL_DISK_FOLDER": f"{folder.resolve()}/",
    }
    return Disk(environ=environ, _flag=flag)

"""Rebuilds the ranks from the npm package `tiktoken` (MIT): `make ranks`, or on a folder with its files in it.

Its `encoders/*.json` hold the ranks in lines `! offset token token ...`, the tokens in base64. Written out as
`token rank` lines they are, to the byte, the files that tiktoken downloads; what is not is refused.
"""

import argparse
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

from batchmill.tokens.encodings import RECIPES

PACKAGE = "tiktoken"
RANKS = Path(__file__).with_name("ranks")


def main() -> int:
    """Rebuild both files; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m batchmill.tokens.rebuild", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="the unpacked npm package; fetched if not given")
    folder = parser.parse_args().folder
    try:
        if folder is not None:
            rebuild(folder)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                rebuild(_fetch(Path(temporary)))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def rebuild(folder: Path, target: Path = RANKS) -> None:
    """Write the compressed ranks of both encodings, from an unpacked npm package.

    Raises:
        OSError: A file is missing or cannot be written.
        ValueError: The ranks are not those that tiktoken expects; that file is left as it was.
    """
    for name, recipe in RECIPES.items():
        ranks = expand(json.loads((folder / "encoders" / f"{name}.json").read_bytes())["bpe_ranks"])
        found = sha256(ranks).hexdigest()
        if found != recipe.sha256:
            raise ValueError(f"{name}: the sha256 is {found}, expected {recipe.sha256}")
        written = target / f"{name}.tiktoken.xz"
        written.write_bytes(lzma.compress(ranks, preset=9 | lzma.PRESET_EXTREME))
        print(f"{name}: {found}, {written.stat().st_size:,} bytes", file=sys.stderr)


def expand(packed: str) -> bytes:
    """`! offset token token ...` lines as `token rank` lines."""
    lines: list[str] = []
    for line in packed.splitlines():
        _, offset, *tokens = line.split(" ")
        lines += (f"{token} {rank}\n" for rank, token in enumerate(tokens, start=int(offset)))
    return "".join(lines).encode()


def _fetch(folder: Path) -> Path:
    """Have npm fetch the package, from wherever it is set up to."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


if __name__ == "__main__":
    sys.exit(main())

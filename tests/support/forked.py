"""The command in a copy of the tester's own process, which has imported it already: a second cheaper than a start."""

import gc
import importlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import TextIO

PACKAGES = ("cli", "workers", "db")


def run_forked(
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, timeout_s: float
) -> "CompletedProcess[str]":
    """Run one command line to its end, with nothing on standard input; what `subprocess.run` would return.

    Raises:
        TimeoutExpired: It was killed by then.
    """
    _import_all()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = multiprocessing.get_context("fork").Process(
            target=_main, args=(arguments, environment, folder, out.fileno(), err.fileno())
        )
        process.start()
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutExpired(list(arguments), timeout_s)
        told = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    assert process.exitcode is not None
    return CompletedProcess(list(arguments), process.exitcode, *told)


@cache
def _import_all() -> None:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "migrations" not in module.name:
                importlib.import_module(module.name)


def _stream(descriptor: int, mode: str) -> TextIO:
    stream: TextIO = os.fdopen(descriptor, mode, encoding="utf-8", closefd=False)
    return stream


def _main(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: int, err: int) -> None:
    from cli.main import run

    gc.freeze()  # looking for cycles among all that the tester holds would copy every page of it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(descriptor, standard)
    sys.stdin, sys.stdout, sys.stderr = map(_stream, (0, 1, 2), "rww")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    status = run(arguments)
    sys.stderr.flush()
    sys.exit(status)

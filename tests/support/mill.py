"""The installed command as a user runs it: in a home of its own, with a sandbox for a provider."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tests.support import planted
from tests.support.forked import run_forked

BATCHMILL = str(Path(sys.executable).with_name("batchmill"))
PATIENCE_S = 90.0
LONGEST_PAUSE_S = 0.1
OURS = (
    *("BATCHMILL_", "DATABASE_", "REDIS_", "BROKER_", "SMTP_", "MAIL_", "ADMIN_", "AI_"),
    *("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "OPENROUTER_", "LOCAL_", "OTEL_"),
)
"""How the names of our variables begin."""


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """A running `batchmill sandbox` and its call log, the witness of what was really called."""

    url: str
    log: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> str:
        """Where it listens: another sandbox there is the same provider, to the mill."""
        return str(urlsplit(self.url).port)

    def calls(self) -> list[dict[str, Any]]:
        """Every call received so far; a line that is just being written is none yet."""
        *lines, _ = self.log.read_text().split("\n")
        return [json.loads(line) for line in lines]


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[Sandbox]:
    """A sandbox on a free port for as long as the context lasts."""
    log = folder / "calls.jsonl"
    log.touch()
    process = subprocess.Popen(
        [BATCHMILL, "sandbox", "--port", "0", "--log", str(log), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http"), "the sandbox did not start"
        yield Sandbox(url=url, log=log, process=process)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A running `batchmill up`.

    Attributes:
        url: Where its service is.
        process: The command: what reads input files and writes result files. HTTP is answered by another.
    """

    url: str
    process: subprocess.Popen[str]

    @contextmanager
    def clerks_away(self) -> Iterator[None]:
        """Nothing is validated or delivered as long as the context lasts; requests are answered."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class Mill:
    """One installation: its folder, its environment."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    _started: list[subprocess.Popen[str]] = field(default_factory=list, init=False)

    @property
    def home(self) -> Path:
        """BATCHMILL_HOME."""
        return self.folder / "home"

    @property
    def started(self) -> list[subprocess.Popen[str]]:
        """What was started, in order."""
        return self._started

    def environment(self) -> dict[str, str]:
        """What the command sees: nothing of the tester's own settings; the planted key where a test gives no other."""
        key = {} if "BATCHMILL_SECRETS" in self.environ else planted.ENVIRON
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return inherited | key | {"BATCHMILL_HOME": str(self.home)} | self.environ

    def __call__(
        self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; with that on standard input, else with the tester's own."""
        return subprocess.run(
            [BATCHMILL, *map(str, arguments)],
            env=self.environment(),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
        )

    def run(self, *arguments: str | Path, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """`batchmill run … --json` by a fork of the tester, which has to succeed; what it prints. Its worker is no
        fork."""
        done = self.quickly("run", *arguments, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr + self.worker_log()
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def quickly(
        self, *arguments: str | Path, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, not as installed: in a fork of the tester, where its imports are made already."""
        return run_forked(
            [*map(str, arguments)],
            environment=self.environment(),
            folder=self.folder,
            timeout_s=timeout_s,
        )

    def refused(self, *arguments: str | Path, timeout_s: float = PATIENCE_S) -> str:
        """A command that has to fail with an error, a hint, and no trace of our own inside; what it says."""
        done = self.quickly(*arguments, timeout_s=timeout_s)
        assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
        assert done.stdout == ""
        assert_told(done.stderr)
        return done.stderr

    def query(self, sql: str) -> list[Any]:
        """What the embedded database answers."""
        with closing(sqlite3.connect(f"file:{self.home}/batchmill.db?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        """Change the embedded database, as time or an owner at its shell would."""
        with (
            closing(sqlite3.connect(self.home / "batchmill.db", timeout=PATIENCE_S)) as connection,
            connection,
        ):
            connection.execute(sql)

    def states(self) -> dict[str, int]:
        """How many batches are in each state."""
        return dict(self.query("SELECT state, count(*) FROM batches GROUP BY state"))

    def start(self, *arguments: str | Path, log: IO[str] | None = None) -> subprocess.Popen[str]:
        """Start the command and let it run; what it says goes to that file, else to pipes of the process's."""
        process = subprocess.Popen(
            [BATCHMILL, *map(str, arguments)],
            env=self.environment(),
            cwd=self.folder,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def processes(self) -> list[int]:
        """Every process of this installation, whoever its parent is."""
        mark = f"BATCHMILL_HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (
                    mark in (entry / "environ").read_bytes().split(b"\0")
                    # Valkey writes its title over its environment.
                    or (entry / "cwd").readlink() == self.home / "broker"
                ):
                    found.append(int(entry.name))
        return [pid for pid in found if not _is_zombie(pid)]

    @contextmanager
    def up(self, *options: str | Path, command: str = "up") -> Iterator["Up"]:
        """`batchmill up`, or `batchmill serve`, on a free port for as long as the context lasts."""
        process = self.start(command, "--port", "0", *options)
        notice = self.home / "run" / "service.json"
        try:
            wait_until(lambda: notice.exists() or process.poll() is not None, PATIENCE_S)
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield Up(url=json.loads(notice.read_text())["url"], process=process)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    def worker_parents(self) -> list[int]:
        """The workers' first processes, which a run starts."""
        found = self._named("worker")
        return [pid for pid in found if _parent(pid) not in found]

    def worker_children(self) -> list[int]:
        """The processes that make the calls."""
        found = self._named("worker")
        return [pid for pid in found if _parent(pid) in found]

    def standing_still(self) -> list[int]:
        """Those of them that are stopped until they are told to go on."""
        return [pid for pid in self.worker_children() if _state(pid) == "T"]

    def wake(self) -> None:
        """Let them go on."""
        for pid in self.standing_still():
            os.kill(pid, signal.SIGCONT)

    def fronts(self) -> list[int]:
        """The processes that answer HTTP."""
        return [pid for pid in self.processes() if "--front" in _command(pid)]

    def brokers(self) -> list[int]:
        """The embedded brokers."""
        return [pid for pid in self.processes() if "valkey" in _command(pid)[0]]

    def _named(self, subcommand: str) -> list[int]:
        return [pid for pid in self.processes() if subcommand in _command(pid)]

    def kill_everything(self) -> None:
        """kill -9 of the command, its workers and its broker, all at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), 10)

    def close(self) -> None:
        """Kill what still runs and close its pipes, so that a test that failed half-way leaves the next ones alone."""
        self.kill_everything()
        for process in self._started:
            process.wait(10)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def worker_log(self) -> str:
        """What the workers said."""
        log = self.home / "logs" / "worker.log"
        return log.read_text() if log.exists() else ""


def _command(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return [""]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0


def heed_signals() -> None:
    """Let what is started from here be interrupted, whoever began the tests (a script's background job ignores Ctrl-C)
    and whatever ran before (a command that has ended in this process ignores all signals)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def assert_told(stderr: str) -> None:
    """What went wrong and what to do next; no stack trace, no bug of ours."""
    assert "error: " in stderr, stderr
    assert "Traceback" not in stderr, stderr
    assert "error: unexpected" not in stderr, stderr


def _is_zombie(pid: int) -> bool:
    return _state(pid) in ("Z", "")


def _state(pid: int) -> str:
    """As proc(5) has it; "" of one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""


def wait_until(condition: Callable[[], bool], within_s: float, every_s: float = 0.02) -> None:
    """Wait for something to become true; an AssertionError when it does not. Looked for less often as time passes:
    who waits for long takes processor time from whom he waits for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)
        every_s = max(every_s, min(LONGEST_PAUSE_S, every_s * 1.2))


def chat_line(custom_id: str, text: str, **body: Any) -> str:
    """One line of OpenAI's batch input."""
    request = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "temperature": 0, "messages": [{"role": "user", "content": text}]}
        | body,
    }
    return json.dumps(request)


def write_lines(path: Path, lines: list[str]) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a result file."""
    return [json.loads(line) for line in path.read_text().splitlines()]

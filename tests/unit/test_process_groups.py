"""What is left of a process group, told by real processes."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.clocks import PATIENCE_S
from tests.support.mill import wait_until
from workers.process_groups import holds_anything

SLEEP = ["sleep", "60"]
EXIT = {"x86_64": 60, "aarch64": 93}.get(platform.machine())
"""The system call by which a thread ends alone."""
LEADER_LEAVES = f"""
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall({EXIT}, 0)
"""


@pytest.fixture
def leader() -> Iterator["subprocess.Popen[bytes]"]:
    """The first of a group of its own."""
    with subprocess.Popen(SLEEP, process_group=0) as process:
        yield process
        process.kill()


def state(pid: int) -> str:
    """Its state by proc(5)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def test_dead_and_not_reaped(leader: "subprocess.Popen[bytes]") -> None:
    """Of a group that lives any one may hold something; of one that was killed none does, reaped or not."""
    with subprocess.Popen(SLEEP, process_group=leader.pid) as member:
        leader.kill()
        leader.wait()
        assert holds_anything(leader.pid)
        member.kill()
        os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
        assert state(member.pid) == "Z"
        assert not holds_anything(leader.pid)
    with pytest.raises(ProcessLookupError):
        holds_anything(leader.pid)


@pytest.mark.skipif(EXIT is None, reason="its number of a system call is not known")
def test_the_first_thread_ends_before_another() -> None:
    """It looks dead, and its files are open."""
    with subprocess.Popen([sys.executable, "-c", LEADER_LEAVES], process_group=0) as process:
        wait_until(lambda: state(process.pid) == "Z", PATIENCE_S)
        assert holds_anything(process.pid)
        process.kill()

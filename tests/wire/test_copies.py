"""A worker that is a copy of its supervisor has none of its duties."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tokenbalance.postgres.ownership import Ownership
from tokenbalance.wire.server.copies import can_copy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is copied")

# The copy gets the signal before it has run a line of its own. One that loses it exits with 0.
SIGNALLED = """
import os, signal
from tokenbalance.wire.server.copies import Copies

got = []
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
with Copies({signal.SIGTERM: signal.SIG_DFL}) as copies:
    copy = copies.process(lambda: os._exit(0))
    copies.start(copy)
    copy.join()
os.kill(os.getpid(), signal.SIGTERM)
print(copy.exitcode, got)
"""
# Two copies wait for the end of their parent. The later one has all that the earlier one has.
ORPHANED = """
import os
from tokenbalance.wire.server.copies import Copies

def work():
    os.write(1, b"started\\n")
    copies.wait_for_end()
    os.write(1, b"noticed\\n")

copies = Copies({})
for _ in range(2):
    copies.start(copies.process(work))
input()
os._exit(1)
"""
# A copy that outlives the owner of a data folder does not keep it from the next.
LOCKED = """
import os, sys
from pathlib import Path
from tokenbalance.postgres.ownership import Ownership

owner = Ownership(Path(sys.argv[1]))
assert owner.acquire() and not Ownership(Path(sys.argv[1])).acquire()
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
os._exit(0)
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input="\n",
        capture_output=True,
        check=False,
        timeout=60,
        encoding="utf-8",
    )
    assert done.stderr == ""
    return done.stdout


def test_a_signal_that_comes_too_early_is_handled_by_the_copy_itself() -> None:
    assert run(SIGNALLED) == "-15 [15]\n"


def test_every_copy_notices_the_end_of_its_parent() -> None:
    # The pipe of standard output ends with the last of them.
    assert sorted(run(ORPHANED).split()) == ["noticed", "noticed", "started", "started"]


def test_a_copy_does_not_hold_the_locks_of_its_parent(tmp_path: Path) -> None:
    program = [sys.executable, "-c", LOCKED, str(tmp_path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as owner:
        assert owner.wait(60) == 0
        locks = Ownership(tmp_path)
        assert locks.acquire()
        locks.close()


def test_a_process_with_other_threads_is_not_copied() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert not can_copy()
    finally:
        end.set()
        thread.join()

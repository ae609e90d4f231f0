"""The journal under processes that die, and a disk that refuses. Real processes, real limits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tokenbalance.books.holds.journal import SLOTS_MAX, Journal, State
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Generator

DEADLINE_S = 20.0
SOURCE = str(Path(__file__).parents[2] / "src")

BEGINNING = """
import asyncio, json, os, resource, subprocess, sys
from pathlib import Path
from tokenbalance.books.holds.journal import Entry, Journal, JournalUnavailable
from tokenbalance.model import Usage

def entry(number):
    return Entry(f"tb_{number:032}", number, 1, "/chat/completions")

def say(*words):
    print(*words, flush=True)

journal = Journal.open(Path(sys.argv[1]))
"""

EACH_STATE = """
slots = [journal.begin(entry(number)) for number in range(8)]
for slot in slots[1:6]:
    slot.dispatch()
for slot in slots[2:5]:
    slot.use(Usage({"input": 1, "output": slot.entry.account_id}, total=7))
slots[3].clear()
for slot in slots[4:]:
    slot.void()
slots[7].clear()
say("ready")
sys.stdin.read()
"""

WITHOUT_END = """
slots = {}
number = 0
say("ready")
while True:
    number += 1
    slots[number] = journal.begin(entry(number))
    say("placing", number)
    slots[number].dispatch()
    say("dispatched", number)
    if number % 4:
        slots[number].use(Usage(total=number))
        say("used", number)
    else:
        slots[number].void()
        say("voided", number)
    if number > 3:
        say("ending", number - 3)
        slots.pop(number - 3).clear()
        say("ended", number - 3)
"""

WITH_A_CHILD = """
child = subprocess.Popen(["sleep", "60"], close_fds=False)
journal.begin(entry(1))
say("ready", child.pid)
sys.stdin.read()
"""

ADOPTING = """
say("ready")
sys.stdin.readline()
adopted = journal.adopt()
say(json.dumps([left.entry.request_id for one in adopted for left in one.requests]))
sys.stdin.read()
"""

UNDER_A_LIMIT = """
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
# The header, two slots, and half of the third.
resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 512 + 256, most))
first, second = journal.begin(entry(1)), journal.begin(entry(2))
try:
    journal.begin(entry(3))
except JournalUnavailable as error:
    say("refused", error.__cause__.errno, journal.healthy, journal.in_use)
first.use(Usage(total=1))

async def go_on():
    await journal.sync()
    say("synced")
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, most))
    await journal.repair()
    say("repaired", journal.healthy)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    await journal.repair()
    say("repaired", journal.healthy)

asyncio.run(go_on())
second.dispatch()
journal.begin(entry(3))
say("ready")
sys.stdin.read()
"""

Process = subprocess.Popen[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@contextmanager
def process(code: str, folder: Path) -> Generator[Process]:
    """A process with a journal of its own in the folder."""
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    with subprocess.Popen(
        [sys.executable, "-c", BEGINNING + code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def lines(running: Process) -> IO[str]:
    assert running.stdout is not None
    return running.stdout


def heard(running: Process) -> str:
    return lines(running).readline().strip()


def tell(running: Process) -> None:
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


def kill(running: Process) -> None:
    running.kill()
    assert running.wait(DEADLINE_S) == -signal.SIGKILL


def left(folder: Path) -> dict[int, tuple[State, Usage | None]]:
    """What the dead process in the folder left, by account id."""
    journal = Journal.open(folder)
    (abandoned,) = journal.adopt()
    abandoned.done()
    journal.close()
    assert abandoned.corrupt == 0
    assert all(found.same_boot for found in abandoned.requests if sys.platform == "linux")
    return {found.entry.account_id: (found.state, found.usage) for found in abandoned.requests}


def test_a_killed_process_leaves_each_request_as_it_was(folder: Path) -> None:
    with process(EACH_STATE, folder) as running:
        assert heard(running) == "ready"
        kill(running)
    assert left(folder) == {
        0: (State.PLACING, None),
        1: (State.DISPATCHED, None),
        2: (State.USED, Usage({"input": 1, "output": 2}, total=7)),
        4: (State.VOID, None),
        5: (State.VOID, None),
        6: (State.VOID, None),
    }


def test_a_process_that_only_stands_still_keeps_its_file(folder: Path) -> None:
    with process(EACH_STATE, folder) as running:
        assert heard(running) == "ready"
        running.send_signal(signal.SIGSTOP)
        journal = Journal.open(folder)
        assert journal.adopt() == []
        kill(running)
        (abandoned,) = journal.adopt()
        abandoned.done()
        journal.close()


@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_was_said_is_missing_after_a_kill_at_any_moment(
    folder: Path, seed: int
) -> None:
    said: dict[int, str] = {}
    with process(WITHOUT_END, folder) as running:
        assert heard(running) == "ready"
        for _ in range(random.Random(seed).randrange(1, 3000)):  # noqa: S311 - not a secret
            _note(said, heard(running))
        kill(running)
        # What it had said and nobody had read.
        for line in lines(running):
            if line.endswith("\n"):
                _note(said, line)
    found = left(folder)
    # One step may have been taken and not yet said.
    for number, word in said.items():
        state, usage = found.get(number, (State.FREE, None))
        assert state in _POSSIBLE[word], (number, word, state)
        assert (usage == Usage(total=number)) == (state is State.USED)
        assert state is not (State.VOID if number % 4 else State.USED)
    assert set(found) <= {*said, max(said) + 1}


_POSSIBLE = {
    "placing": {State.PLACING, State.DISPATCHED},
    "dispatched": {State.DISPATCHED, State.USED, State.VOID},
    "used": {State.USED},
    "voided": {State.VOID},
    "ending": {State.USED, State.VOID, State.FREE},
    "ended": {State.FREE},
}


def _note(said: dict[int, str], line: str) -> None:
    word, number = line.split()
    said[int(number)] = word


def test_a_child_of_a_dead_process_does_not_keep_its_file(folder: Path) -> None:
    with process(WITH_A_CHILD, folder) as running:
        ready, child = heard(running).split()
        assert ready == "ready"
        kill(running)
        try:
            assert left(folder) == {1: (State.PLACING, None)}
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_of_processes_that_adopt_at_once_exactly_one_gets_each_file(folder: Path) -> None:
    expected = [f"tb_{number:032}" for number in range(12)]
    for number in range(12):
        code = f"journal.begin(entry({number})); say('ready'); sys.stdin.read()"
        with process(code, folder) as running:
            assert heard(running) == "ready"
            kill(running)
    with (
        process(ADOPTING, folder) as first,
        process(ADOPTING, folder) as second,
        process(ADOPTING, folder) as third,
    ):
        rivals = (first, second, third)
        assert [heard(rival) for rival in rivals] == ["ready"] * 3
        for rival in rivals:
            tell(rival)
        adopted: list[str] = [one for rival in rivals for one in json.loads(heard(rival))]
    assert sorted(adopted) == expected


def test_a_file_that_may_not_grow_closes_admission_and_keeps_what_it_has(folder: Path) -> None:
    with process(UNDER_A_LIMIT, folder) as running:
        assert heard(running) == "refused 27 False 2"
        assert heard(running) == "synced"
        assert heard(running) == "repaired False"
        assert [path.suffix for path in folder.iterdir()] == [".journal"]
        tell(running)
        assert heard(running) == "repaired True"
        assert heard(running) == "ready"
        kill(running)
    assert left(folder) == {
        1: (State.USED, Usage(total=1)),
        2: (State.DISPATCHED, None),
        3: (State.PLACING, None),
    }


def test_every_slot_there_is_can_be_used_and_read_back(folder: Path) -> None:
    code = (
        f"for number in range({SLOTS_MAX}): journal.begin(entry(number)).use(Usage(total=number))\n"
        "try:\n    journal.begin(entry(0))\n"
        "except JournalUnavailable:\n    say('full')\n"
        "sys.stdin.read()"
    )
    with process(code, folder) as running:
        assert heard(running) == "full"
        kill(running)
    assert left(folder) == {
        number: (State.USED, Usage(total=number)) for number in range(SLOTS_MAX)
    }

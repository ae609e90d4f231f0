"""Programs that a run starts: on the cores they are given, with a log, ended whatever happens.

Ended by the number of the group that each leads: only ever what was started here.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.processes import send
from benchmarks.speed.machine import move_to

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

START_S: Final = 90.0
END_S: Final = 30.0
_POLL_S: Final = 0.05
_OURS: Final = ("OPENAI_", "DATABASE_", "TOKENBALANCE_", "LITELLM_", "VIRTUAL_ENV", "PYTHON")


class NotStarted(Exception):
    """A program ended, or did not listen in time; the message says where its log is."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start one."""

    command: tuple[str, ...]
    folder: Path
    """Where it runs, and where its log is."""
    cores: frozenset[int]
    variables: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"


@asynccontextmanager
async def running(program: Program) -> AsyncGenerator[Process]:
    """Start a program; it is ended on leaving."""
    program.folder.mkdir(parents=True, exist_ok=True)
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
    with program.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            cwd=program.folder,
            env={**inherited, **program.variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    move_to(program.cores, [process.pid])
    try:
        yield process
    finally:
        await asyncio.shield(asyncio.ensure_future(end(process)))


async def end(process: Process) -> None:
    """End a process, which leads a group of its own, and kill what is left of the group."""
    if process.returncode is not None:
        return
    send(signal.SIGTERM, [process.pid])
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            _ = await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _ = await process.wait()


async def until_listening(port: int, process: Process, log: Path) -> None:
    """Wait until a program takes connections.

    Raises:
        NotStarted: it has ended, or takes too long.

    """
    try:
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                if await _listens(port):
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    msg = f"does not listen; its log is {log}"
    raise NotStarted(msg)


async def run_to_its_end(
    command: tuple[str, ...],
    folder: Path,
    limit_s: float,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a command that has to succeed, for so long at most; what it says goes to the log.

    Raises:
        NotStarted: it failed, or took too long.

    """
    every = frozenset(os.sched_getaffinity(0))
    program = Program(command, folder, every, variables or {})
    try:
        async with asyncio.timeout(limit_s), running(program) as process:
            failed = await process.wait() != 0
    except (OSError, TimeoutError):
        failed = True
    if failed:
        msg = f"`{' '.join(command[:3])} ...` failed or took too long; its log is {program.log}"
        raise NotStarted(msg)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True

"""The tools of a run, written in C and compiled on the spot: an upstream, and a load.

They must cost little compared with what they measure, and need only a C compiler.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.speed.programs import (
    NotStarted,
    Program,
    run_to_its_end,
    running,
    until_listening,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_SOURCES: Final = Path(__file__).parent
_COMPILE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Tools:
    """Where they are."""

    upstream: Path
    load: Path


async def compile_tools(cache: Path) -> Tools:
    """Compile what has not been compiled before.

    Raises:
        NotStarted: there is no compiler, or it fails.

    """
    return Tools(await _compile("upstream", cache), await _compile("load", cache))


async def _compile(name: str, cache: Path) -> Path:
    source = _SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    program = cache / f"{name}-{digest}"
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            msg = "there is no C compiler (cc)"
            raise NotStarted(msg)
        made = program.with_suffix(".new")
        command = (compiler, "-O2", "-o", str(made), str(source), "-lm")
        await run_to_its_end(command, cache / "compiling", _COMPILE_S)
        _ = made.rename(program)
    return program


@dataclass(frozen=True, slots=True)
class UpstreamSeat:
    """The address of a run's upstream, which every subject got at its start."""

    program: Path
    port: int
    folder: Path
    cores: frozenset[int]

    @asynccontextmanager
    async def responding(self, options: tuple[str, ...]) -> AsyncGenerator[None]:
        """Run an upstream there with these options."""
        command = (str(self.program), "--port", str(self.port), *options)
        program = Program(command, self.folder, self.cores)
        async with running(program) as process:
            await until_listening(self.port, process, program.log)
            yield

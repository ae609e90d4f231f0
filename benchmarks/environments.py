"""Virtual environments that a run makes: with uv if it is on PATH, otherwise with venv and pip."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.speed.programs import run_to_its_end

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Environment:
    """One that exists; the log of what is done with it is in the folder around it."""

    folder: Path

    @property
    def programs(self) -> Path:
        """Where its programs are."""
        return self.folder / "bin"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.programs / "python")

    async def install(self, *arguments: str) -> None:
        """Install with the arguments of `pip install`.

        Raises:
            NotStarted: it failed.

        """
        uv = shutil.which("uv")
        pip = (self.python, "-m", "pip", "install", "--quiet")
        if uv is not None:
            pip = (uv, "pip", "install", "--quiet", "--python", self.python)
        await run_to_its_end((*pip, *arguments), self.folder.parent, INSTALL_S)


async def make_environment(folder: Path, python: str) -> Environment:
    """Make one at `folder` for an interpreter, or for that of another environment.

    Raises:
        NotStarted: it failed.

    """
    uv = shutil.which("uv")
    create = (python, "-m", "venv") if uv is None else (uv, "venv", "--quiet", "--python", python)
    await run_to_its_end((*create, str(folder)), folder.parent, INSTALL_S)
    return Environment(folder)

"""The builds of a comparison: this tree, and a base that is installed from a commit.

A commit is unpacked from git into the run's folder and gets a venv of its own there, with the
packages that its requirements.lock names for running it. The repository is only read.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.environments import INSTALL_S, make_environment
from benchmarks.speed.programs import NotStarted, run_to_its_end

ROOT: Final = Path(__file__).parents[2]
_GIT_S: Final = 60.0
_VERIFY_S: Final = 60.0
# What follows is for installing and developing, not for serving.
_AFTER_RUNNING: Final = re.compile(r"^# --- installer ---$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Build:
    """One that can be started."""

    name: str
    python: str
    """The interpreter of its venv."""


async def this_tree(folder: Path) -> Build:
    """Return the build that the running interpreter belongs to.

    Raises:
        NotStarted: its product is another tree's.

    """
    return await _checked(Build("this tree", sys.executable), ROOT, folder)


async def this_tree_on(python: str, folder: Path) -> Build:
    """Return this tree's build for another interpreter, which gets an environment if it needs one.

    Raises:
        NotStarted: it cannot be installed there.

    """
    try:
        return await _checked(Build("this tree", python), ROOT, folder)
    except NotStarted:
        installed = await _install(ROOT, folder / "venv", folder, python)
    return await _checked(Build("this tree", installed), ROOT, folder)


async def base_build(given: str, folder: Path, python: str = sys.executable) -> Build:
    """Return the build of a checkout that has a `.venv`, or install the one of a commit.

    Args:
        given: the checkout, or the commit.
        folder: where a commit is installed.
        python: the interpreter for which it is installed.

    Raises:
        NotStarted: there is no such commit, or it cannot be installed.

    """
    checkout = _checkout_at(given)
    if checkout is not None:
        installed = str(checkout / ".venv" / "bin" / "python")
    else:
        checkout = folder / "checkout"
        await _unpack(given, checkout, folder)
        installed = await _install(checkout, folder / "venv", folder, python)
    return await _checked(Build(given, installed), checkout, folder)


def _checkout_at(given: str) -> Path | None:
    checkout = Path(given).resolve()
    return checkout if (checkout / ".venv").is_dir() else None


async def _unpack(commit: str, checkout: Path, folder: Path) -> None:
    archive = folder / "commit.tar"
    command = ("git", "-C", str(ROOT), "archive", f"--output={archive}", commit)
    await run_to_its_end(command, folder, _GIT_S)
    # Python before 3.11.4 does not know the filter that makes unpacking safe.
    command = ("tar", "--extract", f"--file={archive}", f"--one-top-level={checkout}")
    await run_to_its_end(command, folder, _GIT_S)


async def _install(checkout: Path, place: Path, folder: Path, python: str) -> str:
    """Install a tree with the packages it is locked to; returns the interpreter."""
    packages = folder / "packages.txt"
    lock = (checkout / "requirements.lock").read_text("utf-8")
    _ = packages.write_text(_AFTER_RUNNING.split(lock)[0], "utf-8")
    environment = await make_environment(place, python)
    await environment.install("--no-deps", "--require-hashes", "--requirement", str(packages))
    await environment.install("--no-deps", "--no-build-isolation", "--editable", str(checkout))
    return environment.python


async def verify_books(build: Build, folder: Path) -> None:
    """Let a build check its own books, in the folder of its run: another may not know their schema.

    Raises:
        NotStarted: they are wrong.

    """
    command = (build.python, "-m", "tokenbalance.cli", "ledger", "verify")
    variables = {"TOKENBALANCE_DATA_DIR": str(folder / "data")}
    await run_to_its_end(command, folder, _VERIFY_S, variables)


async def _checked(build: Build, checkout: Path, folder: Path) -> Build:
    """Make sure that a build starts the product of its own tree, and compile its modules."""
    ask = "import sys, tokenbalance as it; sys.exit(not it.__file__.startswith(sys.argv[1]))"
    try:
        await run_to_its_end((build.python, "-c", ask, str(checkout)), folder, _GIT_S)
    except NotStarted:
        msg = f"{build.python} has no tokenbalance that is installed from {checkout}"
        raise NotStarted(msg) from None
    # Modules that a process compiles itself leave its memory in a state that makes it slower.
    compiling = (build.python, "-m", "compileall", "-q", str(checkout / "src"), _packages(build))
    await run_to_its_end(compiling, folder, INSTALL_S)
    return build


def _packages(build: Build) -> str:
    (packages,) = (Path(build.python).parents[1] / "lib").glob("python*/site-packages")
    return str(packages)

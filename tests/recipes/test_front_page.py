from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.clients.catalogue import CODEX_CUSTOM
from tests.recipes.front_page import ADDRESS, BLOCKS, README, ROOT, commands, recipe
from tests.support.server_process import serving_process

LINES_MAX = 200
PICTURE_BYTES_MAX = 200_000
SCRIPTS = Path(sys.executable).parent
LIMIT_S = 120
OURS = ("OPENAI_", "DATABASE_", "TOKENBALANCE_", "HOST", "PORT", "WEB_CONCURRENCY", "LOG_")


def test_the_front_page_is_read_in_two_minutes() -> None:
    assert len(README.splitlines()) <= LINES_MAX


def test_the_tree_names_every_wing_and_no_other() -> None:
    (tree,) = (block.text for block in BLOCKS if block.text.startswith("src/tokenbalance/"))
    named = re.findall(r"(?:^  | {2})(\w+)/", tree, re.MULTILINE)
    package = ROOT / "src" / "tokenbalance"
    assert sorted(named) == sorted(path.parent.name for path in package.glob("*/__init__.py"))


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(pictures) == 2
    for picture in pictures:
        assert 0 < (ROOT / picture).stat().st_size < PICTURE_BYTES_MAX, picture


def test_codex_is_configured_as_it_is_run() -> None:
    tried = tomllib.loads(CODEX_CUSTOM.format(url=f"{ADDRESS}/v1"))
    assert tomllib.loads(recipe("toml")).items() <= tried.items()


def test_every_product_that_is_compared_has_its_sources() -> None:
    (head,) = (line for line in README.splitlines() if line.startswith("| | tokenbalance"))
    columns = [column.strip().strip("[").partition("]")[0] for column in head.split("|")[2:-1]]
    sources = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    assert columns
    assert sorted(columns) == sorted(re.findall(r"^## (\S+)$", sources, re.MULTILINE))


async def test_the_first_steps_and_the_python_recipe_run_on_the_sandbox(
    dsn: str, tmp_path: Path
) -> None:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    settings = {"DATABASE_URL": dsn, "TOKENBALANCE_DATA_DIR": str(tmp_path / "data")}
    async with serving_process(tmp_path, kept | settings, "--sandbox") as server:
        program = tmp_path / "recipe.py"
        _ = program.write_text(
            recipe("python", "from openai import").replace(ADDRESS, server.url), "utf-8"
        )
        script = commands().replace(ADDRESS, server.url) + f".venv/bin/python {program}\n"
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-eu", "-c", script.replace(".venv/bin/", f"{SCRIPTS}/")],
            cwd=tmp_path,
            env=kept | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT_S,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tokenbalance sandbox") == 2, done.stdout
    assert "charge" in done.stdout

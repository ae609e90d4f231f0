from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.conftest import Cli

if TYPE_CHECKING:
    from pathlib import Path


def test_models_are_listed_with_their_limits_and_those_of_the_operators_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nnames = ["gpt-5", "llama-3"]\ncontext = 8_192\n')
    cli = Cli(tmp_path, {"TOKENBALANCE_MODELS": str(file)})

    rows = {row["name"]: row for row in cli.json("models", "list")}
    table = cli("models", "list").out.splitlines()

    assert rows["gpt-5-mini"] == {
        "name": "gpt-5-mini",
        "context": 400_000,
        "maximum_output": 128_000,
        "encoding": "o200k_base",
        "reasoning": True,
        "retires": "2026-12-11",
        "source": "built in",
    }
    own = rows["llama-3"]
    assert (own["context"], own["encoding"], own["retires"], own["source"]) == (
        *(8_192, None, None),
        "TOKENBALANCE_MODELS",
    )
    assert rows["gpt-5"]["context"] == 8_192
    assert len(table) == 1 + len(rows)
    assert table[0].split()[:3] == ["name", "context", "maximum_output"]


def test_a_wrong_file_of_models_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nnames = ["llama-3"]\ncontext = "8k"\n')
    line = Cli(tmp_path, {"TOKENBALANCE_MODELS": str(file)}).refused("models", "list")
    assert "TOKENBALANCE_MODELS: line 1: models[0] (llama-3).context" in line

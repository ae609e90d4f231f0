"""`rates propose`: a card from known prices, or how the operator's differs. It writes no file."""

from __future__ import annotations

import sys
import tomllib
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.cli.conftest import Cli
from tests.docs.pages import ROOT
from tokenbalance.books.pricing.rate_card import read_rate_card

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

CARD = """
version = 2
[[models]]
match = "gpt-6-luna*"
input = 0.2
cached_input = 0.01
cache_write = 0.125
output = 0.5
long = { above = 272000, input = 2, output = 1.5 }
tier = { flex = 0.5, priority = 2 }
calls = { web_search = 10000, file_search = 2500, code_interpreter = 30000 }
batch = 0.5

[[models]]
match = "llama-*"
input = 1
output = 1
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command without a database, which it needs as little as a network."""
    return Cli(tmp_path)


def with_card(cli: Cli, text: str = CARD) -> Path:
    file = cli.folder / "card.toml"
    file.write_text(text)
    cli.settings["TOKENBALANCE_RATE_CARD"] = str(file)
    return file


@pytest.mark.parametrize("unit", ["micro-dollars", "weighted-tokens"])
def test_without_a_card_a_whole_one_is_printed(cli: Cli, unit: str) -> None:
    response = cli("rates", "propose", "--unit", unit)
    assert (response.code, response.err) == (0, "")
    assert response.out == (ROOT / f"docs/rate-cards/{unit}.toml").read_text("utf-8")


def test_a_card_of_a_few_models_can_be_asked_for_although_there_is_one(cli: Cli) -> None:
    _ = with_card(cli)
    response = cli("rates", "propose", "--whole", "--models", "gpt-6-*", "--from", "genai-prices")
    assert tomllib.loads(response.out)["models"][0]["match"][0] == "gpt-6-astra"
    assert len(read_rate_card(response.out).rows()) == 5


def test_with_a_card_the_difference_is_printed_and_the_card_stays_as_it_is(cli: Cli) -> None:
    file = with_card(cli)
    response = cli("rates", "propose")
    assert (response.code, response.err, file.read_text()) == (0, "", CARD)
    changes = "    input 0.2 -> 0.1\n    tier.fast none -> 2\n    source: genai-prices"
    assert response.out.startswith("gpt-6-luna, priced by the row gpt-6-luna*, from 20")
    assert f":\n{changes}" in response.out
    assert "\ngpt-5: no row for gpt-5, gpt-5-2025-08-07," in response.out
    assert "\nllama-*: for no model of genai-prices" in response.out
    assert response.out.endswith(
        "1 row with other prices, 113 models without a row, 1 row for other models\n"
    )
    assert [path.name for path in cli.folder.iterdir()] == ["card.toml"]


def test_a_card_of_version_1_is_told_that_it_cannot_say_all_of_it(cli: Cli) -> None:
    file = with_card(cli, '[[models]]\nmatch = "o3"\ninput = 2\noutput = 8\n')
    response = cli("rates", "propose", "--models", "o3")
    assert "    batch none -> 0.5\n" in response.out
    assert response.err == (
        f"Factors, fees and other kinds need version = 2 at the top of {file}.\n"
    )


def test_another_card_than_that_of_the_settings_may_be_compared_as_json(cli: Cli) -> None:
    _ = with_card(cli, "this is no card")
    file = cli.folder / "other.toml"
    file.write_text(CARD)
    found = cli.json("rates", "propose", "--card", str(file), "--models", "gpt-6-*a")
    assert {key: found[key] for key in ("unit", "file", "models", "unknown")} == {
        "unit": "micro-dollars",
        "file": str(file),
        "models": 2,
        "unknown": [],
    }
    (luna,), (astra,) = found["different"], found["missing"]
    assert (luna["model"], luna["match"], luna["from"]) == (
        "gpt-6-luna",
        "gpt-6-luna*",
        found["day"],
    )
    assert luna["changes"] == [
        {"what": "input", "old": "0.2", "new": "0.1"},
        {"what": "tier.fast", "old": None, "new": "2"},
    ]
    assert astra["model"] == "gpt-6-astra"
    assert tomllib.loads(astra["rows"])["models"][0]["input"] == 10


def test_a_whole_card_as_json_is_one_text(cli: Cli) -> None:
    found = cli.json("rates", "propose", "--models", "o3")
    assert found.keys() == {"source", "day", "unit", "models", "card"}
    assert read_rate_card(found["card"]).rates_for("o3").nano["output"] == 8 * 10**9


def test_a_difference_is_exit_code_1_only_where_that_is_asked_for(cli: Cli) -> None:
    _ = with_card(cli)
    wanted = ("rates", "propose", "--exit-code", "--models")
    assert cli(*wanted, "gpt-6-luna").code == 1
    _ = with_card(cli, cli("rates", "propose", "--whole", "--models", "gpt-6-luna").out)
    same = cli(*wanted, "gpt-6-luna", "--json")
    assert same.code == 0
    assert orjson.loads(same.out)["different"] == []


def test_what_is_wrong_is_one_line(cli: Cli) -> None:
    assert cli.refused("rates", "propose", "--models", "llama-*") == (
        "error: genai-prices 0.2.3 has no model like 'llama-*'\n"
    )
    file = with_card(cli, "version = 3")
    assert cli.refused("rates", "propose").startswith("error: TOKENBALANCE_RATE_CARD: line 1: ")
    line = cli.refused("rates", "propose", "--card", str(file))
    assert line.startswith(f"error: {file}: line 1: ")


@pytest.mark.parametrize(("pip", "command"), [(sys, "-m pip install"), (None, "-m uv pip install")])
def test_the_missing_package_is_told_with_the_command_that_installs_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, pip: ModuleType | None, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "pip", pip)
    monkeypatch.setitem(sys.modules, "tokenbalance.books.pricing.catalogue.genai", None)
    monkeypatch.delitem(sys.modules, "tokenbalance.books.pricing.catalogue.genai")
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (pinned,) = project["optional-dependencies"]["prices"]
    assert cli.refused("rates", "propose", "--whole") == (
        f"error: genai-prices is not installed: run {sys.executable} {command} {pinned}\n"
    )

"""The recipes of the front page in the clients that they are for.

    .venv/bin/python -m tests.recipes [--only ai,langchain-openai]

Installs the clients in the versions that `tests.clients` pins, in a temporary folder, and lets each
take its recipe as it stands in the README, against `tokenbalance serve --sandbox`. A table says
what became of it, as `python -m tests.clients` does. Exits with 1 when something is wrong. Codex
is run there, with the configuration of the front page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clients.catalogue import CLIENTS, Client, Source, Turn
from tests.clients.elsewhere import no_way_elsewhere
from tests.clients.installation import Installed, install
from tests.clients.product import Product, served
from tests.clients.tables import say, show_trials
from tests.clients.trials import Trial, attempt
from tests.recipes.front_page import ADDRESS, recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clients.elsewhere import Elsewhere

RECIPES: Final = {
    "openai-python": ("python", "from openai import"),
    "openai-node": ("js", 'from "openai"'),
    "ai": ("js", 'from "ai"'),
    "langchain-openai": ("python", "from langchain_openai import"),
}
"""By client: the language of the block, and what it imports."""


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.recipes", description="Recipes of the README.")
    parser.add_argument("--only", metavar="NAMES", default=",".join(RECIPES))
    wanted: set[str] = set(parser.parse_args().only.split(","))
    if unknown := wanted - set(RECIPES):
        parser.error(f"no recipe {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    clients = [client for client in CLIENTS if client.name in wanted]
    with tempfile.TemporaryDirectory(prefix="tokenbalance-recipes-") as name:
        folder = Path(name)
        say(f"installing {', '.join(client.name for client in clients)}")
        installed = install(clients, folder)
        home = folder / "product"
        home.mkdir()
        with served(home) as product, no_way_elsewhere() as elsewhere:
            return 0 if _try_all(clients, installed, product, elsewhere) else 1


def _try_all(
    clients: Sequence[Client],
    installed: Mapping[str, Installed | Exception],
    product: Product,
    elsewhere: Elsewhere,
) -> bool:
    trials: list[Trial] = []
    for client in clients:
        place = installed[client.name]
        if not isinstance(place, Installed):
            say(f"{client.name} cannot be installed: {place}")
            continue
        say(client.name)
        turn = _turn(client, place, product.url)
        trials.append(attempt(replace(client, turns=(turn,)), turn, place, product, elsewhere))
    verified = product.command("ledger", "verify")
    return show_trials(trials, verified) and len(trials) == len(clients)


def _turn(client: Client, place: Installed, url: str) -> Turn:
    """Write the recipe where the client's packages are found, or give it to the turn's home."""
    text = recipe(*RECIPES[client.name]).replace(ADDRESS, url)
    key = {"TOKENBALANCE_KEY": "{key}"}
    if client.source is Source.NPM:
        program = place.programs / "recipe.mjs"
        _ = program.write_text(text, "utf-8")
        return Turn("as in the README", ("node", str(program)), key)
    # Turns fill in what stands in braces; here nothing does.
    files = {"recipe.py": text.replace("{", "{{").replace("}", "}}")}
    return Turn("as in the README", ("{python}", "../recipe.py"), key, files)


if __name__ == "__main__":
    sys.exit(main())

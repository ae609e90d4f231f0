"""Real clients against the product, and against refusals.

    .venv/bin/python -m tests.clients [--only codex,llm] [--refusals]
    .venv/bin/python -m tests.clients sdk [--help]

Installs pinned clients in a temporary folder, by npm and pip as they are configured here, and
starts `tokenbalance serve --sandbox` with its own data folder and port. Then each client asks
"hello", with its own home folder, as a user with 20,000 credits; a table shows the result, what it
cost, and how many requests it took. Exits with 1 if something is wrong.

With `--refusals` no product is started: a scripted server refuses in several ways, and the table
says how often each client asks, for how long, and what a person sees in the end. It takes five
minutes, mostly waiting. The second command is about the SDKs' own tests: see `sdk.py`.

For hosts other than 127.0.0.1 clients get a proxy that refuses; the first table lists the hosts
they asked it for. The packages for Node do not use proxies, and ask for no other host.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.elsewhere import Elsewhere, no_way_elsewhere
from tests.clients.installation import Installed, install
from tests.clients.product import served
from tests.clients.refused import measure
from tests.clients.sdk import main as main_of_sdk
from tests.clients.tables import say, show_reactions, show_trials
from tests.clients.trials import Trial, attempt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.clients", description="Real clients.")
    names = [client.name for client in CLIENTS]
    parser.add_argument("--only", metavar="NAMES", default=",".join(names))
    parser.add_argument("--refusals", action="store_true")
    asked = parser.parse_args()
    wanted: set[str] = set(asked.only.split(","))
    if unknown := wanted - set(names):
        parser.error(f"no client {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    clients = [client for client in CLIENTS if client.name in wanted]
    if asked.refusals:
        clients = [client for client in clients if client.packages]
    with tempfile.TemporaryDirectory(prefix="tokenbalance-clients-") as name:
        folder = Path(name)
        say(f"installing {', '.join(client.name for client in clients)}")
        places = install(clients, folder)
        missing = {name: why for name, why in places.items() if not isinstance(why, Installed)}
        for client, why in missing.items():
            say(f"{client} cannot be installed: {why}")
        installed = {name: at for name, at in places.items() if isinstance(at, Installed)}
        there = [client for client in clients if client.name in installed]
        with no_way_elsewhere() as elsewhere:
            right = True
            if asked.refusals:
                show_reactions(measure(there, installed, elsewhere))
            else:
                right = _try_all(there, installed, folder, elsewhere)
    return 0 if right and not missing else 1


def _try_all(
    clients: Sequence[Client],
    installed: Mapping[str, Installed],
    folder: Path,
    elsewhere: Elsewhere,
) -> bool:
    home = folder / "product"
    home.mkdir()
    with served(home) as product:
        say(f"asking {product.url}")
        trials: list[Trial] = []
        for client in clients:
            say(client.name)
            trials += [
                attempt(client, turn, installed[client.name], product, elsewhere)
                for turn in client.turns
            ]
        verified = product.command("ledger", "verify")
    return show_trials(trials, verified)


if __name__ == "__main__":
    sys.exit(main_of_sdk(sys.argv[2:]) if sys.argv[1:2] == ["sdk"] else main())

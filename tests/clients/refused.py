"""Every client against a server that refuses: how often it asks, how long, and what is seen."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.clients.scripted_server import REFUSALS, SOCKET, Refusal, scripted_server
from tests.clients.turns import LIMIT_S, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clients.catalogue import Client, Turn
    from tests.clients.elsewhere import Elsewhere
    from tests.clients.installation import Installed

_KEY: Final = "sk-of-nobody"
_AT_ONCE: Final = 4
"""They wait more than they compute."""
_BUILT_IN: Final = "built-in"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Reaction:
    """A row of the table.

    Args:
        client: its name.
        refusal: what it got.
        requests: how many requests reached the server, handshakes aside.
        handshakes: how many WebSocket handshakes did.
        seconds: how long the client went on, its start included.
        seen: the last line that a person sees, or that it had to be ended.

    """

    client: str
    refusal: str
    requests: int
    handshakes: int
    seconds: float
    seen: str


def measure(
    clients: Sequence[Client], installed: Mapping[str, Installed], elsewhere: Elsewhere
) -> list[Reaction]:
    """Show every client every refusal that it can meet."""
    meetings = [
        (name, turn, refusal, installed[client.name])
        for client in clients
        for name, turn in _who_meets(client)
        for refusal in REFUSALS
        if refusal.status != 200 or name.endswith(_BUILT_IN)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as children:
        begun = [children.submit(_meet, *meeting, elsewhere.url) for meeting in meetings]
        return [reaction.result() for reaction in begun]


def _who_meets(client: Client) -> list[tuple[str, Turn]]:
    """Tell names and turns; Codex has two, since only its own provider begins with a socket."""
    if client.name == "codex":
        return [("codex, custom", client.turns[0]), (f"codex, {_BUILT_IN}", client.turns[2])]
    return [(client.name, client.turns[0])]


def _meet(
    name: str, turn: Turn, refusal: Refusal, installed: Installed, elsewhere: str
) -> Reaction:
    with scripted_server(refusal) as server:
        ended = take(turn, installed, server.url, _KEY, elsewhere)
    return Reaction(
        name,
        refusal.name,
        server.asked["POST"],
        server.asked[SOCKET],
        ended.seconds,
        _what_is_seen(ended.output)
        if ended.code is not None
        else f"still waits after {LIMIT_S:.0f} s",
    )


def _what_is_seen(output: str) -> str:
    lines = [_COLOURS.sub("", line).strip() for line in output.splitlines()]
    spoken = [line for line in lines if line]
    about = [line for line in spoken if "script says no" in line.lower()]
    return (about or spoken or [""])[-1]

"""Every turn of every client against the product: output, charge, and requests that arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.clients.turns import take

if TYPE_CHECKING:
    from tests.clients.catalogue import Client, Turn
    from tests.clients.children import Ended
    from tests.clients.elsewhere import Elsewhere
    from tests.clients.installation import Installed
    from tests.clients.product import Product

BALANCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of the table.

    Args:
        client: its name.
        version: its version.
        turn: what was tried.
        faults: what was wrong; nothing when all was right.
        requests: what reached the product, as it logs it.
        charge: in credits.
        elsewhere: other hosts that the client asked for.

    """

    client: str
    version: str
    turn: str
    faults: tuple[str, ...]
    requests: tuple[str, ...]
    charge: int
    elsewhere: tuple[str, ...]


def attempt(
    client: Client, turn: Turn, installed: Installed, product: Product, elsewhere: Elsewhere
) -> Trial:
    """Let a client take a turn as a new user with 20,000 credits."""
    email = f"{client.name}-{client.turns.index(turn)}@example.com"
    key = product.new_key(email, BALANCE)
    mark = product.mark()
    ended = take(turn, installed, f"{product.url}/v1", key, elsewhere.url)
    requests = product.requests_since(mark)
    charges = product.charges(email)
    responded = sum(line.startswith("POST ") and line.endswith(" 200") for line in requests)
    faults = _faults_of(turn, ended)
    if len(charges) != responded:
        faults.append(f"{responded} responses, {len(charges)} charges")
    if any(charge["estimated"] for charge in charges):
        faults.append("charged by estimate")
    return Trial(
        client.name,
        client.version,
        turn.name,
        tuple(faults),
        tuple(requests),
        -sum(charge["amount"] for charge in charges),
        tuple(elsewhere.asked_for()),
    )


def _faults_of(turn: Turn, ended: Ended) -> list[str]:
    faults: list[str] = []
    if ended.code != 0:
        how = "took too long" if ended.code is None else f"exit code {ended.code}"
        lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
        faults.append(f"{how}: {lines[-1][:200] if lines else 'no output'}")
    elif turn.says not in ended.output:
        faults.append(f"does not say {turn.says!r}")
    faults += [f"says {word!r}" for word in turn.never_says if word in ended.output]
    return faults

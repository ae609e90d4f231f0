"""What the proof of charges computes for a usage, without any rows in the books."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from tokenbalance.books.ledger.invariants import charges
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tokenbalance.books.pricing.units import Units
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Rates


async def due_for(
    pool: Pool, usage: Usage, rates: Rates, units: Units = UNITS, correction: Usage | None = None
) -> int:
    """Ask the database what a request owes, for its usage and what a correction adds to it."""
    more = Usage() if correction is None else correction
    due = await pool.fetchval(
        f"SELECT {charges.due(units)}"  # noqa: S608 - made of constants
        f"  FROM (SELECT $1::bigint AS total, {charges.quantities(units)}"
        "           FROM (SELECT $2::jsonb AS quantities) stored) e"
        f" CROSS JOIN (SELECT $3::bigint AS total, {charges.corrections(units)} FROM"
        f"            (SELECT {charges.quantities(units)} FROM (SELECT $4::jsonb AS quantities)"
        "              added) corrections) l"
        f" CROSS JOIN (SELECT {charges.rates(units)} FROM (SELECT $5::jsonb AS rates) stored) r",
        usage.total,
        json.dumps(dict(usage.quantities)),
        more.total,
        json.dumps(dict(more.quantities)),
        rates.text,
    )
    return int(cast("int", due))

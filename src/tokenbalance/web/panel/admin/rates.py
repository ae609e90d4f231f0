"""The rate card in use, and what a request would cost."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.rate_card import UnpricedModel, UnpricedTier
from tokenbalance.books.pricing.units import INPUT, OUTPUT, TIER, UNITS, fee_kind
from tokenbalance.books.reports.price_list import PriceList
from tokenbalance.model import PLAIN, Usage
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.books.pricing.bill import Bill
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.books.reports.price_list import Price
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

_NUMBER_MAX: Final = 10**12
"""Of each kind: far more than any request, and small enough for sums in the books."""
_USUAL: Final = (INPUT, "cached_input", OUTPUT, "reasoning")
"""Kinds whose fields are always open."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form: how much of a kind a request used."""

    kind: str
    label: str


async def show(visit: Visit) -> Response:
    """Show the card, and the bill if one is requested."""
    form = query_form(visit.request)
    card = visit.management.rate_card
    prices = PriceList.today(card)
    rows = prices.rows
    fields = _fields(rows)
    unusual = [field for field in fields if field.kind not in _USUAL]
    tiers = dict.fromkeys(tier for row in rows for tier in row.tiers)
    bill = _bill(form, card, fields) if form.values else None
    return render(
        visit,
        "admin/rates.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        prices=prices,
        rows=rows,
        usual=[field for field in fields if field.kind in _USUAL],
        unusual=unusual,
        is_unusual=any(form.typed(field.kind) for field in unusual),
        tiers=[("", "none, or auto"), *((tier, tier) for tier in tiers)] if tiers else [],
        bill=bill,
    )


def _fields(rows: Sequence[Price]) -> list[Field]:
    """Name what a bill can be made of: all tokens, and other units that the card prices."""
    priced = {kind for row in rows for kind in row.rates}
    tools = dict.fromkeys(tool for row in rows for tool in row.calls)
    kinds = (
        *UNITS.own_tokens,
        *(kind for kind in UNITS.counts if kind in priced),
        *(fee_kind(tool) for tool in tools),
    )
    return [Field(kind, UNITS.label(kind)) for kind in kinds]


def _bill(form: Form, card: RateCard | None, fields: Sequence[Field]) -> Bill | None:
    model = form.text("model", required=card is not None)
    tier = form.text("tier") if card is not None else ""
    usage = _usage(form, tier, fields)
    if form.errors:
        return None
    if card is None:
        return explain_charge(usage, None)
    try:
        rates = card.rates_for(model, PLAIN._replace(tier=tier or PLAIN.tier))
    except UnpricedModel:
        form.refuse("model", "the rate card has no rate for this model: requests are refused")
    except UnpricedTier:
        form.refuse("tier", "the rate card has no factor for this tier: requests are refused")
    else:
        return explain_charge(usage, rates)
    return None


def _usage(form: Form, tier: str, fields: Sequence[Field]) -> Usage:
    """Read tokens by kind, each counted once, and return usage as an upstream reports it."""

    def number(kind: str) -> int:
        return form.integer(kind, minimum=0, maximum=_NUMBER_MAX) or 0

    once = {field.kind: number(field.kind) for field in fields}
    sides = {
        side: sum(once[kind] for kind in (side, *parts))
        for side, parts in UNITS.sides
        if side in once
    }
    served = {f"{TIER}{tier}": 1} if tier else {}
    used = {kind: count for kind, count in {**once, **sides, **served}.items() if count}
    return Usage(used, sum(sides.values()))


ROUTES: Final = (route("/rates", get=show),)

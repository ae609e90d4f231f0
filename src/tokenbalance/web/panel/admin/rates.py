"""The rate card in use, and what a request would cost."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.books.pricing.rates import rates_document
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Usage
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from tokenbalance.books.pricing.bill import Bill
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.books.pricing.units import Unit
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

_TOKENS_MAX: Final = 10**12
"""Per kind: far more than any request, and small enough for sums in the books."""


@dataclass(frozen=True, slots=True)
class PricedRow:
    """One row of the card, for a table."""

    pattern: str | None
    """None: every model that no earlier row matches."""
    rates: Mapping[str, str]
    """By kind, as exact decimals."""


async def show(visit: Visit) -> Response:
    """Show the card, and the bill if one is requested."""
    form = query_form(visit.request)
    card = visit.management.rate_card
    bill = _bill(form, card) if form.values else None
    return render(
        visit,
        "admin/rates.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        has_card=card is not None,
        rows=[] if card is None else _rows(card),
        refuses=card is not None and card.default is None,
        units=_units(card),
        bill=bill,
    )


def _units(card: RateCard | None) -> list[Unit]:
    """The kinds of cards of version 1, and those that the card has rates for besides."""
    named = set(UNITS.priced_in(1))
    if card is not None:
        named.update(*(row.nano for row in card.rows()))
    return [unit for unit in UNITS.rows if unit.name in named]


def _rows(card: RateCard) -> list[PricedRow]:
    rows = [PricedRow(row.pattern, rates_document(row.rates)) for row in card.rows()]
    if card.default is not None:
        rows.append(PricedRow(None, rates_document(card.default)))
    return rows


def _bill(form: Form, card: RateCard | None) -> Bill | None:
    model = form.text("model", required=card is not None)
    usage = _usage(form)
    if form.errors:
        return None
    try:
        return explain_charge(usage, None if card is None else card.rates_for(model))
    except UnpricedModel:
        form.refuse("model", "the rate card has no rate for this model: requests are refused")
        return None


def _usage(form: Form) -> Usage:
    """Read tokens by kind, each counted once, and return usage as an upstream reports it."""

    def tokens(kind: str) -> int:
        return form.integer(kind, minimum=0, maximum=_TOKENS_MAX) or 0

    once = {kind: tokens(kind) for kind in UNITS.tokens}
    sides = {side: sum(once[kind] for kind in (side, *parts)) for side, parts in UNITS.sides}
    return Usage({**once, **sides}, sum(once.values()))


ROUTES: Final = (route("/rates", get=show),)

"""One request: its charge explained, and the form that refunds it."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.credits import (
    Cause,
    CreditError,
    InvalidNote,
    KeyReused,
)
from tokenbalance.books.ledger.refunds import refund_once
from tokenbalance.books.reports import explain
from tokenbalance.web.panel.admin.balance import SENT_BEFORE
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.reports import Explanation
    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Explain a charge."""
    return _page(visit, await _explain(visit), Form())


async def give_back(visit: Visit) -> Response:
    """Refund a charge or a part of it; a form that is submitted twice counts once."""
    form = visit.form
    amount = form.credits("amount")
    note = form.text("note", required=True)
    explanation = await _explain(visit)
    if form.errors:
        return _page(visit, explanation, form)
    request_id, cause = explanation.request.request_id, Cause(visit.signed_in.email, note)
    try:
        async with visit.management.sessions.begin() as session:
            _ = await refund_once(session, request_id, amount, cause, form.typed("once"))
    except KeyReused:
        form.refuse("amount", SENT_BEFORE)
    except CreditError as error:
        form.refuse("note" if isinstance(error, InvalidNote) else "amount", str(error))
    else:
        return go_to(f"/admin/requests/{request_id}", visit, Notice.REFUNDED)
    return _page(visit, await _explain(visit), form)


def _page(visit: Visit, explanation: Explanation, form: Form) -> Response:
    return render(
        visit,
        "admin/request.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        explanation=explanation,
        form=form,
        once=secrets.token_urlsafe(16),
    )


async def _explain(visit: Visit) -> Explanation:
    async with visit.management.sessions() as session:
        return await explain(session, visit.parameter("request_id"))


ROUTES: Final = (
    route("/requests/{request_id}", get=show),
    route("/requests/{request_id}/refund", post=give_back),
)

"""Forms about tags: everybody with one is credited, disabled or enabled; the tags of one user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.credits import Cause, CreditError, InvalidNote, KeyReused
from tokenbalance.books.reports import EVER, USAGE_COLUMNS, csv_lines, export_usage
from tokenbalance.cohorts.credits import credit_tag
from tokenbalance.errors import NotFound
from tokenbalance.people.tag_names import InvalidTag
from tokenbalance.people.tags import UnknownTag, accounts_of_tag, set_tag_active
from tokenbalance.people.users import Changes, update_user
from tokenbalance.web.panel.admin.balance import SENT_BEFORE
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import path_of, user_of, user_page
from tokenbalance.web.panel.admin.users import users_list
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.links import address
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_GONE: Final = (InvalidTag, UnknownTag)


async def add_credits(visit: Visit) -> Response:
    """Add credits to everybody with a tag; a form that is submitted twice counts once."""
    form = visit.form
    amount, note = form.credits("amount", minimum=1), form.text("note", required=True)
    if amount is None:
        form.refuse("amount", "enter an amount")
    if amount is None or form.errors:
        return await users_list(visit, form)
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            _ = await credit_tag(session, _tag(visit), amount, cause, form.typed("once"))
    except _GONE as error:
        raise _nobody() from error
    except KeyReused:
        form.refuse("amount", SENT_BEFORE)
    except CreditError as error:
        form.refuse("note" if isinstance(error, InvalidNote) else "amount", str(error))
    else:
        return _done(visit, Notice.TAG_CREDITED)
    return await users_list(visit, form)


async def download(visit: Visit) -> Response:
    """Download the usage of everybody with a tag."""
    sessions = visit.management.sessions
    try:
        async with sessions() as session:
            among = await accounts_of_tag(session, _tag(visit))
    except _GONE as error:
        raise _nobody() from error
    batches = export_usage(sessions, EVER, among=among)
    return await csv_download("usage", csv_lines(USAGE_COLUMNS, batches))


async def disable(visit: Visit) -> Response:
    """Disable everybody with a tag, except superusers."""
    return await _set_active(visit, active=False)


async def enable(visit: Visit) -> Response:
    """Enable everybody with a tag, except superusers."""
    return await _set_active(visit, active=True)


async def save_tags(visit: Visit) -> Response:
    """Set the tags of one user."""
    tags = tuple(visit.form.text("user-tags").replace(",", " ").split())
    if visit.form.errors:
        return await user_page(visit, visit.form)
    try:
        async with visit.management.sessions.begin() as session:
            user = await user_of(session, visit)
            _ = await update_user(session, user.id, Changes(tags=tags), actor=visit.actor)
    except InvalidTag as error:
        visit.form.refuse("user-tags", str(error))
        return await user_page(visit, visit.form)
    return go_to(path_of(visit), visit, Notice.TAGS_SAVED)


async def _set_active(visit: Visit, *, active: bool) -> Response:
    try:
        async with visit.management.sessions.begin() as session:
            _ = await set_tag_active(session, _tag(visit), active=active, actor=visit.actor)
    except _GONE as error:
        raise _nobody() from error
    return _done(visit, Notice.TAG_ENABLED if active else Notice.TAG_DISABLED)


def _tag(visit: Visit) -> str:
    return visit.parameter("tag")


def _done(visit: Visit, notice: Notice) -> Response:
    return go_to(address("/admin/users", tag=_tag(visit)), visit, notice)


def _nobody() -> NotFound:
    return NotFound("No user has this tag any more.")


ROUTES: Final = (
    route("/tags/{tag}/credits", post=add_credits),
    route("/tags/{tag}/usage.csv", get=download),
    route("/tags/{tag}/disable", post=disable),
    route("/tags/{tag}/enable", post=enable),
    route("/users/{user_id}/tags", post=save_tags),
)

"""Imports users: a box to paste a table into, a dry run, and the result, which is shown once.

Keys and links are only in the response that created them; nothing keeps them on the way.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tokenbalance.cohorts.importing import Wanted, import_users, plan_import
from tokenbalance.people.imports.enrolling import LINK_DAYS, ImportRepeated
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.imports.planning import Existing
from tokenbalance.people.imports.results import Gives, as_csv
from tokenbalance.people.users import EmailTaken
from tokenbalance.web.context import base_url
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.people.imports.mistakes import Mistake
    from tokenbalance.people.imports.planning import Plan
    from tokenbalance.web.panel.visit import Visit

FORM_BYTES_MAX: Final = 2 * 1024 * 1024
"""Larger tables are for the command line and the API."""
ROWS_SHOWN: Final = 200
"""Of the users, and of the errors, of a dry run."""
_PATH: Final = "/admin/users/import"
_GIVES: Final = {
    Gives.KEYS.value: "An API key",
    Gives.LINKS.value: f"A link that sets a password, once, within {LINK_DAYS} days",
}
_EXISTING: Final = {
    Existing.REFUSE.value: "Are an error",
    Existing.SKIP.value: "Are left out",
    Existing.ADD.value: "Get the credits and tags of their line",
}
_DEFAULTS: Final = ("tag", "credits", "parallel_requests")
"""Columns that the form can fill."""


async def show(visit: Visit) -> Response:
    """Show the box."""
    return _page(visit, Form())


async def check(visit: Visit) -> Response:
    """Show what an import would do, and every error; changes nothing."""
    wanted = _read(visit)
    if visit.form.errors:
        return _page(visit, visit.form)
    try:
        async with visit.management.sessions() as session:
            plan = await plan_import(session, wanted)
    except ImportRefused as error:
        return _page(visit, visit.form, mistakes=error.mistakes)
    return _page(visit, visit.form, plan, plan.mistakes)


async def run(visit: Visit) -> Response:
    """Create the users, and show the result, once."""
    form = visit.form
    wanted = _read(visit)
    if form.errors:
        return _page(visit, form)
    try:
        async with visit.management.sessions.begin() as session:
            imported = await import_users(session, wanted, visit.actor, form.typed("once"))
    except ImportRefused as error:
        return _page(visit, form, mistakes=error.mistakes)
    except (ImportRepeated, EmailTaken) as error:
        form.refuse(WHOLE, str(error))
        return _page(visit, form)
    table = as_csv(imported.results, wanted.gives, base_url(visit.request))
    return render(
        visit,
        "admin/imported.html",
        plan=imported.plan,
        gives=wanted.gives.value,
        file=table,
        link=f"data:text/csv;charset=utf-8,{quote(table)}",
    )


def _read(visit: Visit) -> Wanted:
    form = visit.form
    if not form.typed("table").strip():
        form.refuse("table", "paste a table")
    gives, existing = form.one_of("gives", _GIVES), form.one_of("existing", _EXISTING)
    return Wanted(
        table=form.typed("table"),
        gives=Gives(gives or Gives.KEYS),
        existing=Existing(existing or Existing.REFUSE),
        defaults={name: form.text(f"all-{name}") for name in _DEFAULTS},
        key_limits=visit.management.key_limits,
    )


def _page(
    visit: Visit, form: Form, plan: Plan | None = None, mistakes: Sequence[Mistake] = ()
) -> Response:
    # A table with errors was checked as it should be.
    is_wrong = bool(form.errors) or (bool(mistakes) and visit.path != _PATH)
    people = sorted(
        [*plan.new, *(person for person, _ in plan.added)] if plan else (),
        key=lambda person: person.line,
    )
    return render(
        visit,
        "admin/import.html",
        status=HTTPStatus.BAD_REQUEST if is_wrong else HTTPStatus.OK,
        form=form,
        plan=None if form.errors or mistakes else plan,
        people=people[:ROWS_SHOWN],
        count=len(people),
        mistakes=mistakes[:ROWS_SHOWN],
        wrong=len(mistakes),
        gives=_GIVES,
        existing=_EXISTING,
        kept=("table", "gives", "existing", *(f"all-{name}" for name in _DEFAULTS)),
        # New for every page: submitting its form twice imports once.
        once=secrets.token_urlsafe(16),
    )


ROUTES: Final = (
    route("/users/import", get=show, post=check, form_bytes_max=FORM_BYTES_MAX),
    route("/users/import/run", get=show, post=run, form_bytes_max=FORM_BYTES_MAX),
)

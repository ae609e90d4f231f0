"""Keys of a team: the own ones, and for those who may see them all of them. A secret is shown once.

Admins make keys for members, and service keys for which nobody answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tokenbalance.people.access import user_of
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.key_errors import UnknownKey
from tokenbalance.people.key_families import families_of
from tokenbalance.people.key_lists import keys_page, list_keys
from tokenbalance.people.keys import rotate_key
from tokenbalance.people.teams.errors import (
    ProjectArchived,
    UnknownMember,
    UnknownProject,
    ViewersHaveNoKeys,
)
from tokenbalance.people.teams.key_rights import require_bearer, right_over_key, seen_key
from tokenbalance.people.teams.members import list_members
from tokenbalance.people.teams.projects import list_projects
from tokenbalance.web.panel.forms import Form, query_form
from tokenbalance.web.panel.key_form import create_from_form
from tokenbalance.web.panel.key_secret import lead_to_secret, secret_page
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import act, find_here, path_of, render_team, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.access import Standing
    from tokenbalance.people.rows import KeyRow
    from tokenbalance.people.teams.key_rights import KeyRight
    from tokenbalance.web.panel.teams.here import Here
    from tokenbalance.web.panel.visit import Visit

SERVICE: Final = "service"
"""In place of the member who answers for a key: nobody does."""


async def show(visit: Visit) -> Response:
    """List the keys that the visitor may see, with the form for a new one."""
    return await _page(visit, Form())


async def create(visit: Visit) -> Response:
    """Create a key, and redirect to its secret."""
    form = visit.form
    made = None
    async with visit.management.sessions.begin() as session:
        standing = await act(session, visit, "see")
        user_id, project_id = _bearer(visit), form.integer("project", minimum=1)
        if not form.errors:
            await _check(session, visit, standing, user_id, project_id)
        if not form.errors:
            made = await create_from_form(
                session, standing.team_id, visit, user_id=user_id, project_id=project_id
            )
    if made is None:
        return await _page(visit, form)
    return lead_to_secret(visit, f"{path_of(visit)}/keys", made, Notice.KEY_MADE)


async def rotate(visit: Visit) -> Response:
    """Give a key a new secret, and redirect to it."""
    async with visit.management.sessions.begin() as session:
        right = await _right(session, visit)
        key_id = visit.number("key_id")
        made = await rotate_key(session, key_id, right.account_id, actor=right.actor)
    return lead_to_secret(visit, f"{path_of(visit)}/keys", made, Notice.KEY_RENEWED)


async def revoke(visit: Visit) -> Response:
    """Revoke a key."""
    async with visit.management.sessions.begin() as session:
        right = await _right(session, visit)
        _ = await revoke_key(session, visit.number("key_id"), right.account_id, actor=right.actor)
    return go_to(f"{path_of(visit)}/keys", visit, Notice.KEY_REVOKED)


async def show_secret(visit: Visit) -> Response:
    """Show a secret, which is only in the browser."""
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        key = await seen_key(session, visit.caller, visit.number("key_id"))
    if key.account_id != here.team.id:
        raise UnknownKey(key.id)
    return secret_page(visit, "teams/secret.html", f"{here.path}/keys", key, here.team)


async def _right(session: Session, visit: Visit) -> KeyRight:
    """Return what the visitor may do to the key whose id is in the path.

    Raises:
        UnknownTeam, UnknownKey: the visitor may not change it, or it is not of this team.
        TeamClosed: nothing of it can be changed any more.

    """
    here = await find_here(session, visit)
    key_id = visit.number("key_id")
    right = await right_over_key(session, visit.caller, key_id, visit.actor)
    if right.team_id != here.team.id:
        raise UnknownKey(key_id)
    return right


def _bearer(visit: Visit) -> int | None:
    """Read who answers for a new key: the visitor unless another member or nobody was chosen."""
    chosen = visit.form.typed("member")
    if chosen == SERVICE:
        return None
    if not chosen:
        return user_of(visit.caller)
    return visit.form.integer("member", minimum=1)


async def _check(
    session: Session,
    visit: Visit,
    standing: Standing,
    user_id: int | None,
    project_id: int | None,
) -> None:
    """Add errors to the form if the visitor may make no such key."""
    try:
        await require_bearer(session, standing, user_id, project_id)
    except (UnknownMember, ViewersHaveNoKeys) as error:
        visit.form.refuse("member", str(error))
    except (UnknownProject, ProjectArchived) as error:
        visit.form.refuse("project", str(error))


async def _page(visit: Visit, form: Form) -> Response:
    after = query_form(visit.request).typed("after") or None
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        keys, following = await _seen(session, visit, here, after)
        families = await families_of(session, keys)
        members = await list_members(session, here.team.id)
        projects = await list_projects(session, here.team.id)
    now = datetime.now(UTC)
    return render_team(
        visit,
        "keys",
        here,
        form,
        keys=keys,
        following=following,
        after=after,
        families=families,
        members={member.user_id: member for member in members},
        projects={project.id: project for project in projects},
        service=SERVICE,
        now=now,
        today=now.date(),
    )


async def _seen(
    session: Session, visit: Visit, here: Here, after: str | None
) -> tuple[Sequence[KeyRow], str | None]:
    """Read a page of the keys that the visitor may see, and the cursor of the next one."""
    if here.sees("see_all"):
        page = await keys_page(session, here.team.id, after, ROWS)
        return page.data, page.next
    own = user_of(visit.caller)
    return [key for key in await list_keys(session, here.team.id) if key.user_id == own], None


ROUTES: Final = (
    route("/keys", get=show, post=create),
    route("/keys/{key_id}/secret", get=show_secret),
    route("/keys/{key_id}/rotate", post=rotate),
    route("/keys/{key_id}/revoke", post=revoke),
)

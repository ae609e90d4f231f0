"""What people do on the pages of a team leaves a line and an event, whoever they are."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.security_log import events_said, lines
from tests.web.panel.test_admin_access import takes
from tests.web.panel.test_teams import create_team, invite
from tokenbalance.events import RECORDED
from tokenbalance.web.panel.teams import ROUTES

if TYPE_CHECKING:
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

FORMS = {route.path for route in ROUTES if takes(route, "POST")}
FIELDS = {
    "team-name": "Chemistry",
    "move-amount": "5",
    "role": "admin",
    "invite-role": "viewer",
    "project-name": "another",
    "new-name": "renamed",
    "name": "a key",
    "scope-inference": "yes",
    "budget-amount": "5",
    "budget-every": "day",
    "budget-unit": "credits",
    "sure": "yes",
}
"""With which every form would do something."""
LIMITED = ("/limits", "/keys/{key_id}/limits", "/members/{user_id}/limits")
LIMITED_TOO = "/projects/{project_id}/limits"
IN_ORDER = (
    "/account/teams",
    *(
        f"/account/teams/{{team_id}}{path}"
        for path in (
            "/credits",
            "/members",
            "/members/{user_id}/role",
            "/members/{user_id}/disable",
            "/members/{user_id}/enable",
            "/members/{user_id}/credits",
            "/invitations",
            "/invitations/{invitation_id}/withdraw",
            "/projects",
            "/projects/{project_id}/rename",
            "/projects/{project_id}/archive",
            "/projects/{project_id}/restore",
            "/keys",
            "/keys/{key_id}/rotate",
            *(each for path in (*LIMITED, LIMITED_TOO) for each in (path, f"{path}/budgets")),
            *(f"{path}/budgets/{{budget_id}}/remove" for path in (*LIMITED, LIMITED_TOO)),
            "/keys/{key_id}/revoke",
            "/members/{user_id}/remove",
            "/settings",
        )
    ),
)
"""Each leaves what the next ones are about. Then an invitation is used, its user leaves, and the
team is closed."""
LAST = {
    "/invitations/{secret}",
    "/account/teams/{team_id}/leave",
    "/account/teams/{team_id}/close",
}
BY_SUPERUSERS = "/account/teams/{team_id}/limits"


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_every_form_is_among_those_that_are_tried() -> None:
    assert {*IN_ORDER} | LAST == FORMS
    assert len(FORMS) == 33


async def newest(pool: Pool, table: str) -> int:
    return await pool.fetchval(f"SELECT max(id) FROM {table}")  # noqa: S608 - a constant


async def test_every_form_leaves_a_line_and_an_event(
    people: People, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    owner, other, guest = [await people.create(balance=100) for _ in range(3)]
    fields = {**FIELDS, "email": other.email}

    async def check(pages: Pages, path: str, actor: str, **more: str) -> None:
        before = await pool.fetchval("SELECT coalesce(max(id), 0) FROM events")
        caplog.clear()
        response = await pages.submit(path, **{**fields, **more})
        assert response.status_code == 303, (path, re.findall('class="error".*', response.text))
        said = lines(caplog)
        assert said, f"{path} leaves no trace of who did it"
        assert {(line["actor"], line["address"]) for line in said} == {(actor, "127.0.0.1")}
        rows = await pool.fetch("SELECT event, actor FROM events WHERE id > $1 ORDER BY id", before)
        assert [row["event"] for row in rows] == events_said(caplog), path
        assert {row["event"] for row in rows} <= {*RECORDED}
        assert {row["actor"] for row in rows} == {actor}

    async with people.signed_in(owner) as pages, people.signed_in(guest) as guests:
        for number, form in enumerate(IN_ORDER):
            if form == BY_SUPERUSERS:
                continue
            path = form.format(
                team_id=await newest(pool, "accounts"),
                user_id=other.user_id,
                project_id=await newest(pool, "projects"),
                key_id=await newest(pool, "api_keys"),
                invitation_id=await newest(pool, "invitations"),
                budget_id=await pool.fetchval(
                    "SELECT max(id) FROM limits WHERE name LIKE 'budget:%'"
                ),
            )
            changing = {"requests_per_minute": str(50 + number), "once": f"once-{number}"}
            if form.endswith(("/role", "/settings")):
                changing |= {"role": "owner", "team-name": "Biology"}
            await check(pages, path, owner.email, **changing)
        team = f"/account/teams/{await newest(pool, 'accounts')}"
        await pages.see(team)
        await check(guests, await invite(pages, team), guest.email)
        await check(guests, f"{team}/leave", guest.email)
        await check(pages, f"{team}/close", owner.email)
        response = await pages.submit(f"{team}/settings", **fields)
        assert response.status_code == 409
        assert "closed" in (await pages.see(team)).text
    superuser = await people.create(is_superuser=True)
    async with people.signed_in(superuser) as pages:
        team = await create_team(pages)
        await check(pages, f"{team}/limits", superuser.email, requests_per_minute="5")

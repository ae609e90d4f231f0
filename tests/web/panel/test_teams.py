"""A team on the pages: created, paid into, joined by a link, limited, left, closed."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

from tests.support.admin import entries_of, hidden, shown

if TYPE_CHECKING:
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

LINK = re.compile(r"http://[^<\s]+(/invitations/[\w-]{43})")
SCOPE = {"scope-inference": "yes"}


async def create_team(pages: Pages, name: str = "Physics") -> str:
    """Create a team whose owner is signed in; returns the path of its pages."""
    await pages.see("/account/teams")
    made = await pages.submit("/account/teams", **{"team-name": name})
    assert made.status_code == 303, made.text
    return made.headers["location"]


async def invite(pages: Pages, team: str, role: str = "member", email: str = "") -> str:
    """Invite somebody; returns the path of the link."""
    made = await pages.submit(f"{team}/invitations", **{"invite-role": role, "invite-email": email})
    assert made.status_code == 303, made.text
    page = await pages.see(made.headers["location"])
    (path,) = set(LINK.findall(unescape(page.text)))
    assert path not in (await pages.see(made.headers["location"])).text
    return path


async def test_a_team_is_created_paid_into_joined_and_left(people: People, pool: Pool) -> None:
    owner = await people.create(balance=1000)
    member = await people.create()
    async with people.signed_in(owner) as pages, people.signed_in(member) as guest:
        team = await create_team(pages)
        team_id = int(team.rpartition("/")[2])
        once = hidden(await pages.see(team), "once")
        for _ in range(2):
            moved = await pages.submit(f"{team}/credits", **{"move-amount": "300", "once": once})
            assert moved.headers["location"] == team
        assert [row[:3] for row in await entries_of(pool, team_id)] == [("transfer", 300, 300)]

        link = await invite(pages, team)
        assert "Physics" in (await guest.see(link)).text
        joined = await guest.submit(link)
        assert joined.headers["location"] == team
        page = await guest.see(f"{team}/keys")
        assert "You have joined the team." in page.text
        _, secret = await shown(guest, await guest.submit(f"{team}/keys", name="mine", **SCOPE))
        assert secret
        page = await pages.see(f"{team}/keys")
        assert member.email in page.text
        for path in ("", "/members", "/projects", "/limits", f"/members/{member.user_id}"):
            await pages.see(f"{team}{path}")
        assert "300" in (await guest.see(team)).text
        await guest.see("/account/teams")
        removed = await pages.submit(f"{team}/members/{member.user_id}/remove")
        assert removed.status_code == 303, removed.text
        assert (await guest.get(team)).status_code == 404

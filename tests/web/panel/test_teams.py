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


async def test_an_invitation_survives_the_sign_in_and_works_once(people: People) -> None:
    owner, guest, late = [await people.create() for _ in range(3)]
    async with people.signed_in(owner) as pages:
        link = await invite(pages, await create_team(pages), "viewer")
        async with people.pages() as stranger:
            page = await stranger.see(link)
            assert "Physics" not in page.text
            (sign_in,) = re.findall(r'href="(/sign-in[^"]*)"', page.text)
            assert link.rpartition("/")[2] not in page.text.replace(f'action="{link}"', "")
            await stranger.see(sign_in)
            typed = {"email": guest.email, "password": guest.password, "next": "/invitations"}
            response = await stranger.submit("/sign-in", **typed)
            assert response.headers["location"] == "/invitations"
            response = await stranger.get("/invitations")
            assert response.headers["location"] == link
            page = await stranger.see(link)
            assert page.headers["referrer-policy"] == "same-origin"
            assert (owner.email in page.text, "viewer" in page.text) == (True, True)
            assert (await stranger.submit(link)).status_code == 303
            assert (await stranger.get("/invitations")).headers["location"] == "/account/teams"
        async with people.signed_in(late) as others:
            for response in (await others.get(link), await others.submit(link)):
                assert response.status_code == 404
                assert "does not work" in response.text


async def test_an_invitation_for_somebody_else_says_so_without_naming_them(people: People) -> None:
    owner, guest, other = [await people.create() for _ in range(3)]
    async with people.signed_in(owner) as pages, people.signed_in(other) as others:
        link = await invite(pages, await create_team(pages), email=guest.email)
        response = await others.get(link)
        assert response.status_code == 404
        assert "is for another e-mail than yours" in response.text
        assert not {guest.email, owner.email, "Physics"} & {*re.findall(r"[\w@.]+", response.text)}
        assert (await others.submit(link)).status_code == 404
        # Who belongs to the team already does not use it up.
        link = await invite(pages, link_team := (await teams_of(pages))[0])
        assert "already" in (await pages.see(link)).text
        assert (await pages.submit(link)).status_code == 409
        assert (await others.submit(link)).headers["location"] == link_team


async def teams_of(pages: Pages) -> list[str]:
    page = await pages.see("/account/teams")
    return re.findall(r'href="(/account/teams/\d+)"', page.text)


async def test_a_link_is_shown_only_from_the_session_that_made_it(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        team = await create_team(pages)
        made = await pages.submit(f"{team}/invitations", **{"invite-role": "member"})
        forged = {"tokenbalance-new-link": f"{'x' * 43}:{'0' * 64}"}
        page = await pages.get(made.headers["location"], headers=cookies(pages, forged))
        assert "not shown again" in page.text
        assert LINK.search(page.text) is None


def cookies(pages: Pages, changed: dict[str, str]) -> dict[str, str]:
    kept = {**dict(pages.cookies), **changed}
    return {"cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}


async def test_what_is_typed_wrong_is_said_at_its_field(people: People) -> None:
    owner = await people.create(balance=10)
    async with people.signed_in(owner) as pages:
        team = await create_team(pages)
        for path, fields, words in (
            ("/members", {"email": "no@example.com", "role": "member"}, "Create an invitation"),
            ("/members", {"email": owner.email, "role": "member"}, "already"),
            ("/members", {"email": owner.email, "role": "king"}, "not one of the choices"),
            ("/invitations", {"invite-email": "x", "invite-role": "member"}, "e-mail"),
            ("/credits", {"move-amount": "11", "once": "a"}, "At most 10 credits can be moved"),
            ("/credits", {"move-amount": "", "once": "b"}, "Enter an amount"),
            ("/projects", {"project-name": " "}, "1 to 100 characters"),
            ("/settings", {"team-name": "x", "time_zone": "Mars"}, "IANA"),
            ("/close", {}, "Check the box"),
            ("/keys", {**SCOPE, "scope-manage": "yes"}, "cannot have the scope manage"),
            ("/keys", {**SCOPE, "member": "999"}, "No member"),
            ("/keys", {**SCOPE, "project": "999"}, "No project"),
        ):
            response = await pages.submit(f"{team}{path}", **fields)
            assert response.status_code == 400, path
            assert words in unescape(response.text), (path, words)
        response = await pages.submit("/account/teams", **{"team-name": ""})
        assert response.status_code == 400

"""What each role sees and does on the pages of a team: all else is refused, or does not exist."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.support.people import NEW_KEY
from tests.web.panel.test_guards import books
from tests.web.panel.test_teams import create_team

if TYPE_CHECKING:
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

WHO = ("stranger", "disabled", "viewer", "member", "admin", "owner", "superuser")
ALL = (404, 404, 200, 200, 200, 200, 200)
ADMINS = (404, 404, 403, 403, 200, 200, 200)
LOOKING = {
    "": ALL,
    "/keys": ALL,
    "/members": ALL,
    "/projects": ALL,
    "/members/{owner}": ADMINS,
    "/limits": ADMINS,
    "/keys/{service}/limits": ADMINS,
    "/members/{owner}/limits": ADMINS,
    "/keys/{service}/secret": (404, 404, 200, 404, 200, 200, 200),
    "/invitations/1": (404, 404, 403, 403, 404, 404, 404),
}
NOT_ADMINS = ("stranger", "disabled", "viewer", "member")
NOT_OWNERS = (*NOT_ADMINS, "admin")
REFUSED = {
    "/members": NOT_ADMINS,
    "/members/{owner}/role": NOT_OWNERS,
    "/members/{owner}/disable": NOT_OWNERS,
    "/members/{owner}/remove": NOT_OWNERS,
    "/members/{member}/disable": NOT_ADMINS,
    "/members/{member}/remove": NOT_ADMINS,
    "/members/{member}/credits": NOT_ADMINS,
    "/invitations": NOT_ADMINS,
    "/invitations/1/withdraw": NOT_ADMINS,
    "/projects": NOT_ADMINS,
    "/keys/{service}/rotate": NOT_ADMINS,
    "/keys/{service}/revoke": NOT_ADMINS,
    "/keys/{service}/limits": NOT_ADMINS,
    "/keys/{service}/limits/budgets": NOT_ADMINS,
    "/members/{member}/limits": NOT_ADMINS,
    "/members/{member}/limits/budgets": NOT_ADMINS,
    "/limits": NOT_OWNERS,
    "/limits/budgets": NOT_ADMINS,
    "/keys": ("stranger", "disabled", "viewer", "member"),
    "/settings": NOT_OWNERS,
    "/close": NOT_OWNERS,
}
"""Who may not send which form."""
FIELDS = {
    **NEW_KEY,
    "role": "viewer",
    "invite-role": "member",
    "member": "service",
    "move-amount": "1",
    "once": "once",
    "project-name": "x",
    "team-name": "x",
    "sure": "yes",
    "requests_per_minute": "5",
    "budget-amount": "5",
    "budget-every": "day",
}


async def test_each_role_sees_and_does_what_it_may(people: People, pool: Pool) -> None:
    somebody = {
        who: await people.create(is_superuser=who == "superuser", balance=10) for who in WHO
    }
    fields = {**FIELDS, "email": somebody["stranger"].email}
    async with AsyncExitStack() as stack:
        pages: dict[str, Pages] = {
            who: await stack.enter_async_context(people.signed_in(one))
            for who, one in somebody.items()
        }
        owner = pages["owner"]
        team = await create_team(owner)
        for who in ("disabled", "viewer", "member", "admin"):
            adding = {"email": somebody[who].email, "role": "member" if who == "disabled" else who}
            assert (await owner.submit(f"{team}/members", **adding)).status_code == 303
        await owner.submit(f"{team}/members/{somebody['disabled'].user_id}/disable")
        await owner.submit(f"{team}/credits", **{"move-amount": "5", "once": "first"})
        await owner.submit(f"{team}/keys", name="the robot", member="service", **NEW_KEY)
        ids = {who: one.user_id for who, one in somebody.items()}
        ids["service"] = await pool.fetchval("SELECT max(id) FROM api_keys")
        for path, statuses in LOOKING.items():
            for who, status in zip(WHO, statuses, strict=True):
                response = await pages[who].get(f"{team}{path.format(**ids)}")
                assert response.status_code == status, (path, who)
        for who in ("viewer", "member"):
            seen = "".join([(await pages[who].see(f"{team}{p}")).text for p in ("", "/keys")])
            assert ("the robot" in seen, "Latest ledger entries" in seen) == (who == "viewer",) * 2
            assert f"{team}/close" not in seen
        before = await books(pool)
        for path, refused in REFUSED.items():
            for who in refused:
                response = await pages[who].submit(f"{team}{path.format(**ids)}", **fields)
                hidden = {404} if who in {"stranger", "disabled"} else {403, 404}
                assert response.status_code in hidden, (path, who)
        for path, choosing in (
            ("/members", {"role": "owner"}),
            ("/invitations", {"invite-role": "owner"}),
            (f"/members/{ids['member']}/role", {"role": "owner"}),
        ):
            response = await pages["admin"].submit(f"{team}{path}", **{**fields, **choosing})
            assert response.status_code == 403, path
        # The last owner stays.
        for path in ("/leave", f"/members/{ids['owner']}/remove"):
            response = await owner.submit(f"{team}{path}")
            assert response.status_code == 400
            assert "last owner" in response.text
        assert await books(pool) == before


async def test_a_key_of_another_account_is_none_of_the_team(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        team, other = await create_team(pages), await create_team(pages)
        for keys in ("/account/keys", f"{other}/keys"):
            made = await pages.submit(keys, **NEW_KEY)
            assert made.status_code == 303
            key_id = await pool.fetchval("SELECT max(id) FROM api_keys")
            key = f"{team}/keys/{key_id}"
            before = await books(pool)
            for form in ("rotate", "revoke", "limits"):
                response = await pages.submit(f"{key}/{form}", requests_per_minute="5")
                assert response.status_code == 404, (keys, form)
            assert (await pages.get(f"{key}/secret")).status_code == 404
            assert await books(pool) == before

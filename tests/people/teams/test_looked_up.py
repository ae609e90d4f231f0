"""Keys of teams as lists show them: who answers for them, and who made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.teams import create_full_team, team_key
from tokenbalance.people.key_families import families_of
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.owned_keys import keys_of_member, owned_keys_page

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


async def test_the_maker_of_a_key_is_named_by_who_answers_for_it_or_the_team(
    pool: Pool, sessions: Sessions
) -> None:
    team = await create_full_team(pool, sessions)
    member_id = team.member.user_id
    maker, of_member = [(await team_key(sessions, team.id, member_id))[0] for _ in range(2)]
    service, of_service = [(await team_key(sessions, team.id, None))[0] for _ in range(2)]
    for made, by in ((of_member, maker), (of_service, service)):
        await pool.execute("UPDATE api_keys SET made_by_key_id = $2 WHERE id = $1", made, by)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", member_id)
    async with sessions() as session:
        keys = [await get_key(session, key_id, None) for key_id in (of_member, of_service)]
        families = await families_of(session, keys)
        owned = await owned_keys_page(session, "crew", "", None, 10)
        of_one = await keys_of_member(session, team.id, member_id)
        of_other = await keys_of_member(session, team.id, team.admin.user_id)
    assert families[of_member].maker_email == email
    assert families[of_service].maker_email == "Crew"
    assert {(row.email, row.team) for row in owned.data} == {(email, "Crew"), ("", "Crew")}
    assert (of_one, of_other) == ((maker, of_member), ())

"""What operators are told of objects: whose they are, also where that is a team."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder
from tests.support.stored_objects import store
from tests.support.teams import create_full_team
from tokenbalance.model import CLI
from tokenbalance.owners.stock import NewOwner, ObjectError, adopt, known_of, objects_of

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


async def test_objects_of_a_team_are_named_after_it(pool: Pool, sessions: Sessions) -> None:
    team, holder = await create_full_team(pool, sessions), await create_holder(pool)
    (of_team,) = await store(pool, Holder(0, team.id, 0, ""), "file")
    (of_user,) = await store(pool, holder, "file")
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    async with sessions() as session:
        known = await known_of(session, "file")
    assert known == {of_team: ("Crew", False), of_user: (email, False)}


async def test_a_team_adopts_what_nobody_has(pool: Pool, sessions: Sessions) -> None:
    team, holder = await create_full_team(pool, sessions), await create_holder(pool)
    async with sessions.begin() as session:
        _ = await adopt(session, CLI, NewOwner(None, team.id), ["file-of-crew"])
        (found,) = await objects_of(session, team.id, None)
    assert found.id == "file-of-crew"
    owner = NewOwner(holder.user_id, holder.account_id)
    async with sessions() as session:
        with pytest.raises(ObjectError, match="file-of-crew belongs to Crew"):
            _ = await adopt(session, CLI, owner, ["file-of-crew"])

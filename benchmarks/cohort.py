"""Accounts with limits, with grants that end and an allowance, and a team, beside other clients.

The team has two members with a key each, and a service key; every subject has limits, some of which
are reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.books import Holder, create_holder
from tests.support.limits import limit_key
from tokenbalance.books.grants.allowances import NewAllowance, create
from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.model import CLI
from tokenbalance.people.account_limits import change_account_limits
from tokenbalance.people.keys import create_key
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.teams.members import add_member
from tokenbalance.people.teams.projects import create_project
from tokenbalance.people.teams.teams import create_team

if TYPE_CHECKING:
    from benchmarks.clients import Clients
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.limits import LimitChanges

FUNDS: Final = 1_000_000
PURSE: Final = 3_000
"""Of accounts whose grants end: so little that requests wait for them."""
LIMITED: Final[dict[str, int]] = {
    "requests_per_minute": 40,
    "tokens_per_minute": 3000,
    "parallel_requests": 2,
    "credits_per_day": 3000,
}
OF_MEMBER: Final[LimitChanges] = {"parallel_requests": 2, "credits_per_day": 100_000}
OF_PROJECT: Final[LimitChanges] = {"tokens_per_minute": 4000}
OF_TEAM: Final[LimitChanges] = {"requests_per_minute": 150, "parallel_requests": 5}
OF_SERVICE: Final = KeyLimits(credits_total=5000)


@dataclass(frozen=True, slots=True)
class Cohort:
    """What was added to the clients."""

    team_id: int
    project_id: int
    seats: tuple[int, ...]
    """Where among the holders the members' keys of the team are."""
    own_accounts: tuple[int, ...]
    """Of the members themselves."""
    granted: tuple[int, ...]
    """Accounts that get grants with an end; the team's is the last."""
    of_member: LimitChanges


async def create_cohort(pool: Pool, sessions: Sessions, clients: Clients) -> Cohort:
    """Add the accounts to the clients, whose requests they share."""
    limited = [await create_holder(pool, FUNDS) for _ in range(2)]
    for holder in limited:
        await limit_key(sessions, holder, **LIMITED)
    ending = [await create_holder(pool, PURSE) for _ in range(2)]
    async with sessions.begin() as session:
        new = NewAllowance(amount=500, every="day", rollover_max=100)
        _ = await create(session, ending[0].account_id, new, Cause(CLI))
    members = [await create_holder(pool, PURSE) for _ in range(2)]
    async with sessions.begin() as session:
        team = await create_team(session, "Cohort", None, actor=CLI)
        _ = await grant(session, team.id, FUNDS, Cause(CLI))
        project = await create_project(
            session, team.id, "project", OF_PROJECT, by_superuser=True, actor=CLI
        )
        _ = await change_account_limits(session, team.id, OF_TEAM, actor=CLI)
        keys: list[Holder] = []
        for member in members:
            _ = await add_member(
                session,
                team.id,
                member.user_id,
                "member",
                OF_MEMBER,
                by_superuser=True,
                actor=CLI,
            )
            key, secret = await create_key(
                session, team.id, user_id=member.user_id, project_id=project.id, actor=CLI
            )
            keys.append(Holder(member.user_id, team.id, key.id, secret))
        key, secret = await create_key(session, team.id, limits=OF_SERVICE, actor=CLI)
        keys.append(Holder(0, team.id, key.id, secret))
    seat = len(clients.holders)
    clients.holders += [*keys, *limited, *ending]
    return Cohort(
        team_id=team.id,
        project_id=project.id,
        seats=(seat, seat + 1),
        own_accounts=tuple(member.account_id for member in members),
        granted=(*(holder.account_id for holder in ending), team.id),
        of_member=OF_MEMBER,
    )

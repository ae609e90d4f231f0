"""Teams as benchmarks have them: a key of a member, with a limit for each subject that binds it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from tests.support.books import Holder, create_holder
from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.model import CLI
from tokenbalance.people.account_limits import change_account_limits
from tokenbalance.people.budgets import add_budget
from tokenbalance.people.keys import create_key
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.teams.members import add_member
from tokenbalance.people.teams.projects import create_project
from tokenbalance.people.teams.teams import create_team

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.database.connections import Pool, Sessions

RICH: Final = 10_000_000
END_USER: Final = "somebody"
"""Whom the requests of these keys name, in the field `user`."""
BUDGET: Final = "budget"
"""What a budget of the project is called among the subjects of `Bounds`."""
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What limits the key: by subject, `key`, `member`, `project`, `account`, `end` or `budget`."""

    limits: Mapping[str, Mapping[str, int]]

    def of(self, subject: str) -> KeyLimits:
        """Return the limits of one of them."""
        return KeyLimits(**self.limits.get(subject, {}))  # pyright: ignore[reportArgumentType] - numbers


@dataclass(frozen=True, slots=True)
class Crew:
    """A team with one member, and its project."""

    team_id: int
    project_id: int
    holder: Holder
    """The member's key, which pays from the team."""
    own_account_id: int
    """The member's."""


async def create_crew(pool: Pool, sessions: Sessions, bounds: Bounds) -> Crew:
    """Create a team that can pay for everything, and a key that all these limits bind."""
    member = await create_holder(pool)
    limits = bounds.limits
    async with sessions.begin() as session:
        team = await create_team(session, f"Crew {next(_numbers)}", None, actor=CLI)
        _ = await grant(session, team.id, RICH, Cause(CLI))
        _ = await add_member(
            session,
            team.id,
            member.user_id,
            "member",
            limits.get("member", {}),
            by_superuser=True,
            actor=CLI,
        )
        project = await create_project(
            session, team.id, "project", limits.get("project", {}), by_superuser=True, actor=CLI
        )
        if "account" in limits:
            _ = await change_account_limits(session, team.id, limits["account"], actor=CLI)
        key, secret = await create_key(
            session,
            team.id,
            limits=bounds.of("key"),
            user_id=member.user_id,
            project_id=project.id,
            sub_account_from="user" if "end" in limits else None,
            sub_account_limits=bounds.of("end"),
            actor=CLI,
        )
        for every, amount in limits.get(BUDGET, {}).items():
            _ = await add_budget(
                session,
                team.id,
                amount=amount,
                every=every,
                project_id=project.id,
                by_superuser=True,
                actor=CLI,
            )
    holder = Holder(member.user_id, team.id, key.id, secret)
    return Crew(team.id, project.id, holder, member.account_id)

"""Whose account a command is about: a user's, by EMAIL, or a team's, by `--team TEAM`.

Such a command is declared with `cls=OfPayer`, its first argument is `email: UserEmail`, and it has
the option `team: OfTeam`. Exactly one of both is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer
from typer.core import TyperCommand
from typing_extensions import override

from tokenbalance.people.account_limits import get_account
from tokenbalance.people.teams.names import team_named
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from typer._click import Context

    from tokenbalance.people.rows import AccountRow
    from tokenbalance.people.teams.rows import TeamRow

UserEmail: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="EMAIL|--team TEAM", help="The user's e-mail, case is ignored; or a team."
    ),
]
"""Empty where `--team` is given."""
OfTeam: TypeAlias = Annotated[
    str | None,
    typer.Option("--team", metavar="TEAM", help="Instead of EMAIL: a team, by its id or name."),
]


class OfPayer(TyperCommand):
    """A command whose first argument, EMAIL, is left out where `--team` is given."""

    @override
    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args([*args])
        first = cast("str | None", given.get("email"))
        if given.get("team") is None:
            if first is None and not given.get("help"):
                ctx.fail("Missing argument 'EMAIL' or option '--team'.")
            return super().parse_args(ctx, args)
        if first is not None and "@" in first.partition("=")[0]:
            ctx.fail("EMAIL and --team exclude each other.")
        # What stands first is the next argument.
        return super().parse_args(ctx, ["", *args])


@dataclass(frozen=True, slots=True)
class Payer:
    """A user's account, or a team's."""

    account: AccountRow
    email: str | None
    """Of its user; None: it is a team's."""
    team: TeamRow | None

    @property
    def id(self) -> int:
        """Of the account."""
        return self.account.id

    @property
    def name(self) -> str:
        """What people call it."""
        return self.email or self.account.name


async def find_payer(session: AsyncSession, email: str, team: str | None) -> Payer:
    """Find the account of a user or, where it is not None, of a team.

    Raises:
        UnknownUser, TeamError: there is no such user or team.

    """
    if team is None:
        user = await find_user(session, email)
        return Payer(user.account, user.email, None)
    found = await team_named(session, team)
    return Payer(await get_account(session, found.id), None, found)

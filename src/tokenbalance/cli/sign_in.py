"""`tokenbalance sign-in ...`: sign-in tokens of users, and users who are kept waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenbalance.cli.arguments import AsJson, Email  # noqa: TC001 - typer reads the annotations
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table
from tokenbalance.people.attempts import forget_failures
from tokenbalance.people.sign_in_tokens import end_token_by_id, list_tokens
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.rows import UserRow
    from tokenbalance.people.sign_in_tokens import TokenRow

app = typer.Typer(
    name="sign-in", help="List and end sign-in tokens; let a user sign in without waiting."
)


@app.command("list")
def list_sign_ins(email: Email, *, as_json: AsJson = False) -> None:
    """List a user's sign-in tokens that work, newest first."""

    async def find(session: AsyncSession) -> Sequence[TokenRow]:
        user = await find_user(session, email)
        return await list_tokens(session, user.account.id)

    found = [_fields(token) for token in transact(find)]
    if as_json:
        print_json(found)
    else:
        columns = "id via agent address created_at expires_at last_used_at"
        print_table(columns.split(), found)


@app.command("end")
def end_sign_in(
    token_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)],
    *,
    as_json: AsJson = False,
) -> None:
    """End a sign-in token, at once and permanently."""
    token = transact(lambda session: end_token_by_id(session, token_id))
    if as_json:
        print_json(_fields(token))
    else:
        print_line(f"Sign-in token ended: {token.id}")


@app.command("unlock")
def unlock(email: Email, *, as_json: AsJson = False) -> None:
    """Clear the failed sign-ins of an e-mail, so that its user need not wait."""

    async def clear(session: AsyncSession) -> tuple[UserRow, int]:
        user = await find_user(session, email)
        return user, await forget_failures(session, user.email)

    user, failures = transact(clear)
    if as_json:
        print_json({"id": user.id, "email": user.email, "failures": failures})
    else:
        print_line(
            f"Failed sign-ins cleared: {failures} of {user.email}, from all addresses."
            " Counts of an address for all e-mails were kept."
        )


def _fields(token: TokenRow) -> Fields:
    device = token.device
    return {
        "id": token.id,
        "via": device.via if device else "",
        "agent": device.agent if device else "",
        "address": device.address if device else "",
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }

"""`tokenbalance transfer`: credits move from one account to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.cli.arguments import ACTOR, AsJson, Note, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.ledger import ENTRY_COLUMNS, entry_fields
from tokenbalance.cli.output import print_json, print_table
from tokenbalance.cli.payers import find_payer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.transfers import Transfer
    from tokenbalance.cli.payers import Payer


def move_credits(
    sender: Annotated[
        str, typer.Argument(metavar="FROM", help="A user's e-mail, or a team's id or name.")
    ],
    receiver: Annotated[
        str, typer.Argument(metavar="TO", help="A user's e-mail, or a team's id or name.")
    ],
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits, at least 1.")
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Move credits from one account to another, of a user or a team.

    Credits that have an end are not moved, nor those that requests in flight hold. Both entries are
    made, or none.
    """

    async def work(session: AsyncSession) -> tuple[Payer, Payer, Transfer]:
        paying, paid = await _payer(session, sender), await _payer(session, receiver)
        await bring_up_to_date(session, paying.id)
        moved = await transfer(session, paying.id, paid.id, amount, Cause(ACTOR, note))
        return paying, paid, moved

    paying, paid, moved = transact(work)
    sent, received = entry_fields(moved.sent), entry_fields(moved.received)
    if as_json:
        print_json(
            {
                "id": str(moved.sent.transfer_id),
                "sent": {"account_id": paying.id, **sent},
                "received": {"account_id": paid.id, **received},
            }
        )
        return
    rows = [{"account": paying.name, **sent}, {"account": paid.name, **received}]
    print_table(["account", *ENTRY_COLUMNS], rows)


async def _payer(session: AsyncSession, text: str) -> Payer:
    # A name of a team may have an @, but a user is found first.
    is_user = "@" in text
    return await find_payer(session, text if is_user else "", None if is_user else text)

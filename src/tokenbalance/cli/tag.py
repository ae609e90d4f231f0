"""`tokenbalance tag ...`: everybody who has a tag, at once."""

from typing import Annotated, TypeAlias

import typer

from tokenbalance.books.ledger.credits import Cause
from tokenbalance.cli.arguments import ACTOR, AsJson, Note, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import (
    Fields,
    counted,
    print_aside,
    print_json,
    print_line,
    print_table,
)
from tokenbalance.cohorts.credits import credit_tag
from tokenbalance.people import tags

app = typer.Typer(name="tag", help="List tags; credit, disable or enable everybody who has one.")

Tag: TypeAlias = Annotated[str, typer.Argument(metavar="TAG", help="Case is ignored.")]


@app.command("list")
def list_tags(*, as_json: AsJson = False) -> None:
    """List all tags, with how many users have them and what these have together."""
    rows: list[Fields] = [
        {
            "tag": row.name,
            "users": row.users,
            "disabled": row.disabled,
            "balance": row.balance,
        }
        for row in transact(tags.list_tags)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("tag", "users", "disabled", "balance"), rows)


@app.command("credit")
def credit(
    tag: Tag,
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits for each user.")
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Add credits to everybody who has a tag: all get them, or nobody."""
    done = transact(lambda session: credit_tag(session, tag, amount, Cause(ACTOR, note)))
    if as_json:
        print_json({"users": done.users, "amount": done.amount, "total": done.total})
    else:
        users = counted(done.users, "user")
        print_line(f"{counted(done.amount, 'credit')} added to {users}: {done.total:,} in all")


@app.command("disable")
def disable(tag: Tag, *, as_json: AsJson = False) -> None:
    """Disable everybody who has a tag and all their keys, except superusers."""
    _set_active(tag, active=False, as_json=as_json)


@app.command("enable")
def enable(tag: Tag, *, as_json: AsJson = False) -> None:
    """Enable everybody who has a tag and their keys again, except superusers."""
    _set_active(tag, active=True, as_json=as_json)


def _set_active(tag: str, *, active: bool, as_json: bool) -> None:
    done = transact(lambda session: tags.set_tag_active(session, tag, active=active, actor=ACTOR))
    if as_json:
        print_json({"changed": done.changed, "superusers": done.superusers})
        return
    print_line(f"{counted(done.changed, 'user')} {'enabled' if active else 'disabled'}")
    if done.superusers:
        print_aside(f"{counted(done.superusers, 'superuser')} left as they are")

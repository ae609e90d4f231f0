"""`tokenbalance user ...` and `createsuperuser`: who may sign in and call."""

import asyncio
import sys
from typing import Annotated, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.accounts import users
from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table
from tokenbalance.database.tables import User
from tokenbalance.ledger.credits import Cause, grant

app = typer.Typer(name="user", help="Create, list, disable and enable users.")

Name: TypeAlias = Annotated[str, typer.Option("--name", help="What people call them.")]
PasswordStdin: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="Read a password, one line, from standard input; without one nobody can sign in.",
    ),
]
Balance: TypeAlias = Annotated[
    int, typer.Option("--balance", min=0, help="Credits to begin with, as a grant.")
]


@app.command("create")
def create_user(  # noqa: PLR0913 - one for each option
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    name: Name = "",
    superuser: Annotated[bool, typer.Option("--superuser", help="May manage others.")] = False,
    password_stdin: PasswordStdin = False,
    balance: Balance = 0,
    as_json: AsJson = False,
) -> None:
    """Create a user and an account."""
    password_hash = _read_password_hash() if password_stdin else None

    async def create(session: AsyncSession) -> User:
        user = await users.create_user(
            session, email=email, name=name, password_hash=password_hash, is_superuser=superuser
        )
        if balance:
            _ = await grant(session, user.account.id, balance, Cause(ACTOR))
        return user

    user = transact(create)
    if as_json:
        print_json(user_fields(user))
    else:
        print_line(f"created user {user.id} {user.email}")


def create_superuser(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    name: Name = "",
    password_stdin: PasswordStdin = False,
    balance: Balance = 0,
    as_json: AsJson = False,
) -> None:
    """Create a user who may manage others."""
    create_user(
        email,
        name=name,
        superuser=True,
        password_stdin=password_stdin,
        balance=balance,
        as_json=as_json,
    )


@app.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List every user, in the order of their creation."""
    _print([user_fields(user) for user in transact(users.list_users)], as_json=as_json)


@app.command("show")
def show_user(email: Email, *, as_json: AsJson = False) -> None:
    """Show one user."""
    user = transact(lambda session: users.find_user(session, email))
    _print(user_fields(user), as_json=as_json)


@app.command("disable")
def disable_user(email: Email, *, as_json: AsJson = False) -> None:
    """Refuse a user and all their keys, at once; the ledger keeps what was."""
    _set_active(email, active=False, as_json=as_json)


@app.command("enable")
def enable_user(email: Email, *, as_json: AsJson = False) -> None:
    """Let a disabled user and their keys in again."""
    _set_active(email, active=True, as_json=as_json)


def user_fields(user: User) -> Fields:
    """Name what is told of a user. The account must be loaded."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "is_superuser": user.is_superuser,
        "is_active": user.is_active,
        "balance": user.account.balance,
        "held": user.account.held,
        "available": user.account.available,
    }


def _set_active(email: str, *, active: bool, as_json: bool) -> None:
    user = transact(lambda session: users.set_active(session, email, active=active))
    if as_json:
        print_json(user_fields(user))
    else:
        print_line(f"{'enabled' if active else 'disabled'} user {user.id} {user.email}")


def _print(found: Fields | list[Fields], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        rows = found if isinstance(found, list) else [found]
        columns = "id email name is_superuser is_active balance held available"
        print_table(columns.split(), rows)


def _read_password_hash() -> str:
    """Hash one line of standard input, as bytes: a password need not be text in our encoding."""
    from tokenbalance.accounts.passwords import hash_password  # noqa: PLC0415 - slow to import

    password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    return asyncio.run(hash_password(password))

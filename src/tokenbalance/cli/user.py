"""`tokenbalance user ...` and `createsuperuser`: who may sign in and call."""

import asyncio
import sys
from typing import Annotated, TypeAlias, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table
from tokenbalance.people import users
from tokenbalance.people.rows import UserRow

app = typer.Typer(name="user", help="Create, list, disable and enable users, set passwords.")

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
    password_hash = _hash(_read_password()) if password_stdin else None
    user = _create(
        email, name=name, superuser=superuser, password_hash=password_hash, balance=balance
    )
    _tell(user, "created", as_json=as_json)


def create_superuser(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    name: Name = "",
    password_stdin: PasswordStdin = False,
    balance: Balance = 0,
    as_json: AsJson = False,
) -> None:
    """Create a user who may manage others; on a terminal, asks for a password."""
    password = _read_password() if password_stdin else ""
    if not password_stdin and sys.stdin.isatty():
        password = _ask_password("Password (empty for none)", default="")
    password_hash = _hash(password) if password or password_stdin else None
    user = _create(email, name=name, superuser=True, password_hash=password_hash, balance=balance)
    _tell(user, "created", as_json=as_json)


@app.command("password")
def set_password(
    email: Email, *, password_stdin: PasswordStdin = False, as_json: AsJson = False
) -> None:
    """Set a password; whoever signed in with the old one has to do so again. Keys stay."""
    if password_stdin:
        password = _read_password()
    elif sys.stdin.isatty():
        password = _ask_password("New password", default=None)
    else:
        msg = "without a terminal to ask on, --password-stdin is needed"
        raise typer.BadParameter(msg)
    changes = users.Changes(password_hash=_hash(password))

    async def change(session: AsyncSession) -> UserRow:
        user = await users.find_user(session, email)
        return await users.update_user(session, user.id, changes)

    _tell(transact(change), "set the password of", as_json=as_json)


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


def user_fields(user: UserRow) -> Fields:
    """Name what is told of a user."""
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


def _create(
    email: str, *, name: str, superuser: bool, password_hash: str | None, balance: int
) -> UserRow:
    async def create(session: AsyncSession) -> UserRow:
        user = await users.create_user(
            session, email=email, name=name, password_hash=password_hash, is_superuser=superuser
        )
        if balance:
            _ = await grant(session, user.account.id, balance, Cause(ACTOR))
        return await users.get_user(session, user.id)

    return transact(create)


def _set_active(email: str, *, active: bool, as_json: bool) -> None:
    user = transact(lambda session: users.set_active(session, email, active=active))
    _tell(user, "enabled" if active else "disabled", as_json=as_json)


def _tell(user: UserRow, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(user_fields(user))
    else:
        print_line(f"{done} user {user.id} {user.email}")


def _print(found: Fields | list[Fields], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        rows = found if isinstance(found, list) else [found]
        columns = "id email name is_superuser is_active balance held available"
        print_table(columns.split(), rows)


def _read_password() -> str:
    """Read one line of standard input."""
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        msg = "the password on standard input is not UTF-8"
        # From nothing: what could not be decoded is the password.
        raise typer.BadParameter(msg) from None


def _ask_password(question: str, default: str | None) -> str:
    """Ask twice, showing nothing of the answers, where no pipe takes the question for a result."""
    response = cast(
        "object",
        typer.prompt(
            question,
            default=default,
            show_default=False,
            hide_input=True,
            confirmation_prompt="Once more",
            err=True,
        ),
    )
    return str(response)


def _hash(password: str) -> str:
    from tokenbalance.people.passwords import hash_password  # noqa: PLC0415 - slow to import

    return asyncio.run(hash_password(password))

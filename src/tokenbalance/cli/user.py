"""`tokenbalance user ...` and `createsuperuser`: users and their passwords."""

import asyncio
import sys
from typing import Annotated, TypeAlias, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.cli.arguments import ACTOR, AsJson, Email, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.imports import import_users
from tokenbalance.cli.output import Fields, print_aside, print_json, print_line, print_table
from tokenbalance.people import users
from tokenbalance.people.password_rules import PasswordRules
from tokenbalance.people.rows import UserRow
from tokenbalance.people.tags import tag_user as change_tags
from tokenbalance.settings import load_settings

app = typer.Typer(name="user", help="Create, list, disable and enable users; set passwords.")
_ = app.command("import")(import_users)

Name: TypeAlias = Annotated[str, typer.Option("--name", help="Display name.")]
PasswordStdin: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="Read a one-line password from standard input; without one nobody can sign in.",
    ),
]
Balance: TypeAlias = Annotated[
    int,
    typer.Option(
        "--balance", metavar="N", parser=read_credits, help="Initial credits, as a grant."
    ),
]


@app.command("create")
def create_user(  # noqa: PLR0913 - one for each option
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    name: Name = "",
    superuser: Annotated[bool, typer.Option("--superuser", help="May manage other users.")] = False,
    password_stdin: PasswordStdin = False,
    balance: Balance = 0,
    as_json: AsJson = False,
) -> None:
    """Create a user with an account."""
    password_hash = _hash(_read_password(), email) if password_stdin else None
    user = _create(
        email, name=name, superuser=superuser, password_hash=password_hash, balance=balance
    )
    _report(user, "User created", as_json=as_json)


def create_superuser(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    name: Name = "",
    password_stdin: PasswordStdin = False,
    balance: Balance = 0,
    as_json: AsJson = False,
) -> None:
    """Create a user who may manage others; asks for a password on a terminal."""
    password = _read_password() if password_stdin else ""
    if not password_stdin and sys.stdin.isatty():
        password = _ask_password("Password (empty for none)", default="")
    password_hash = _hash(password, email) if password or password_stdin else None
    user = _create(email, name=name, superuser=True, password_hash=password_hash, balance=balance)
    _report(user, "User created", as_json=as_json)
    if password_hash is None:
        print_aside(f"No password: {user.email} cannot sign in until `user password` sets one")


@app.command("password")
def set_password(
    email: Email, *, password_stdin: PasswordStdin = False, as_json: AsJson = False
) -> None:
    """Set a password; ends the user's sessions. API keys keep working."""
    if password_stdin:
        password = _read_password()
    elif sys.stdin.isatty():
        password = _ask_password("New password", default=None)
    else:
        msg = "Use --password-stdin: there is no terminal to ask for the password"
        raise typer.BadParameter(msg)
    changes = users.Changes(password_hash=_hash(password, email))

    async def change(session: AsyncSession) -> UserRow:
        user = await users.find_user(session, email)
        return await users.update_user(session, user.id, changes, actor=ACTOR)

    _report(transact(change), "Password set", as_json=as_json)


@app.command("list")
def list_users(
    *,
    tag: Annotated[str, typer.Option("--tag", help="Only users who have this tag.")] = "",
    as_json: AsJson = False,
) -> None:
    """List all users in order of creation."""
    found = transact(lambda session: users.list_users(session, tag))
    _print([user_fields(user) for user in found], as_json=as_json)


@app.command("tag")
def tag_user(
    email: Email,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...")],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tags away instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a user tags: words of letters, digits and -_.:, in lower case."""

    async def change(session: AsyncSession) -> UserRow:
        user = await users.find_user(session, email)
        add, away = ((), tags) if remove else (tags, ())
        return await change_tags(session, user.id, add=add, remove=away, actor=ACTOR)

    user = transact(change)
    _report(user, f"Tags are now {', '.join(user.tags) or 'none'}", as_json=as_json)


@app.command("show")
def show_user(email: Email, *, as_json: AsJson = False) -> None:
    """Show one user."""
    user = transact(lambda session: users.find_user(session, email))
    _print(user_fields(user), as_json=as_json)


@app.command("disable")
def disable_user(email: Email, *, as_json: AsJson = False) -> None:
    """Disable a user and all their keys, at once; the ledger is kept."""
    _set_active(email, active=False, as_json=as_json)


@app.command("enable")
def enable_user(email: Email, *, as_json: AsJson = False) -> None:
    """Enable a disabled user and their keys again."""
    _set_active(email, active=True, as_json=as_json)


def user_fields(user: UserRow) -> Fields:
    """Return what is shown of a user."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "is_superuser": user.is_superuser,
        "is_active": user.is_active,
        "balance": user.account.balance,
        "held": user.account.held,
        "available": user.account.available,
        "tags": user.tags,
    }


def _create(
    email: str, *, name: str, superuser: bool, password_hash: str | None, balance: int
) -> UserRow:
    async def create(session: AsyncSession) -> UserRow:
        user = await users.create_user(
            session,
            email=email,
            name=name,
            password_hash=password_hash,
            is_superuser=superuser,
            actor=ACTOR,
        )
        if balance:
            _ = await grant(session, user.account.id, balance, Cause(ACTOR))
        return await users.get_user(session, user.id)

    return transact(create, creates=True)


def _set_active(email: str, *, active: bool, as_json: bool) -> None:
    user = transact(lambda session: users.set_active(session, email, active=active, actor=ACTOR))
    _report(user, "User enabled" if active else "User disabled", as_json=as_json)


def _report(user: UserRow, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(user_fields(user))
    else:
        print_line(f"{done}: {user.id} {user.email}")


def _print(found: Fields | list[Fields], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        rows = found if isinstance(found, list) else [found]
        columns = "id email name is_superuser is_active balance held available tags"
        print_table(columns.split(), rows)


def _read_password() -> str:
    """Read one line of standard input."""
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        msg = "The password on standard input is not UTF-8"
        # From None: the exception quotes the bytes, which are the password.
        raise typer.BadParameter(msg) from None


def _ask_password(question: str, default: str | None) -> str:
    """Ask twice on stderr, without echo, and tell the rules first."""
    print_aside(_rules().hint)
    response = cast(
        "object",
        typer.prompt(
            question,
            default=default,
            show_default=False,
            hide_input=True,
            confirmation_prompt="Repeat for confirmation",
            err=True,
        ),
    )
    return str(response)


def _hash(password: str, email: str) -> str:
    from tokenbalance.people.passwords import hash_password  # noqa: PLC0415 - slow to import

    return asyncio.run(hash_password(password, _rules(), email))


def _rules() -> PasswordRules:
    return PasswordRules(load_settings().password_chars_min)

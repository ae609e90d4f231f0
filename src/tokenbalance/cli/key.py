"""`tokenbalance key ...`: API keys. A secret is printed once, when the key is created."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import (
    Document,
    Fields,
    Value,
    print_aside,
    print_json,
    print_line,
    print_table,
)
from tokenbalance.people import keys
from tokenbalance.people.bounded_limits import new_limits
from tokenbalance.people.end_users import limits_of_each
from tokenbalance.people.key_changes import KeyChanges
from tokenbalance.people.key_changes import change_key as change_key_of
from tokenbalance.people.key_ends import Revoked, revoke_all_keys
from tokenbalance.people.key_ends import revoke_key as revoke
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.key_lists import list_keys as keys_of
from tokenbalance.people.key_terms import NEW_KEY_SCOPES
from tokenbalance.people.limit_text import NONE, read_limits, written
from tokenbalance.people.limits import LIMITS
from tokenbalance.people.rows import KeyRow
from tokenbalance.people.sign_in_tokens import end_tokens
from tokenbalance.people.users import find_user
from tokenbalance.settings import load_settings

app = typer.Typer(name="key", help="Create, list, change, rotate and revoke API keys.")

KeyId: TypeAlias = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)]


class InsufficientStatus(StrEnum):
    """The statuses for a request that the balance does not cover."""

    PAYMENT_REQUIRED = "402"
    TOO_MANY_REQUESTS = "429"


class ScopeName(StrEnum):
    """What a key may be used for: `model.SCOPES`, as the command line takes them."""

    INFERENCE = "inference"
    READ = "read"
    MANAGE = "manage"


class ChangedStatus(StrEnum):
    """The same, and the server's choice."""

    PAYMENT_REQUIRED = "402"
    TOO_MANY_REQUESTS = "429"
    DEFAULT = "default"


KeyName: TypeAlias = Annotated[str | None, typer.Option("--name", help="What the key is for.")]
Days: TypeAlias = Annotated[
    int | None,
    typer.Option("--expires-in-days", min=1, max=36_500, help="Days until it expires."),
]
Scopes: TypeAlias = Annotated[
    list[ScopeName] | None,
    typer.Option(
        "--scope",
        help="What it may be used for: inference (requests to models), read (reading its own"
        " account only), manage (all that its owner may do by API). Repeat for several.",
    ),
]


Limits: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="A limit, such as credits_per_day=1000 or models=gpt-4o*|o3. Repeat for several.",
    ),
]
EndUsers: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--end-users",
        metavar="WHERE",
        help="Where requests name their end users: header:NAME, user, safety_identifier; none.",
    ),
]
EndUserLimits: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--end-user-limit", metavar="NAME=VALUE", help="A limit of each end user; repeatable."
    ),
]


@app.command("create")
def create_key(  # noqa: PLR0913 - the fields of a key, by name
    email: Email,
    *,
    name: KeyName = None,
    expires_in_days: Days = None,
    scope: Scopes = None,
    insufficient_status: Annotated[
        InsufficientStatus | None,
        typer.Option(
            "--insufficient-status",
            help="Status of requests that the balance does not cover; default: the server's.",
        ),
    ] = None,
    force_store_false: Annotated[
        bool,
        typer.Option(
            "--force-store-false",
            help="Send its responses and chats with store: false, whatever they ask for.",
        ),
    ] = False,
    limit: Limits = None,
    end_users: EndUsers = None,
    end_user_limit: EndUserLimits = None,
    as_json: AsJson = False,
) -> None:
    """Create a key; only its secret goes to stdout: KEY=$(tokenbalance key create EMAIL).

    By default it is for inference only, never expires, and has the limits of
    TOKENBALANCE_KEY_LIMITS.
    """
    if end_user_limit and end_users is None:
        msg = "--end-user-limit needs --end-users, which says where requests name them"
        raise typer.BadParameter(msg)
    defaults = load_settings().key_limits
    limits = new_limits(read_limits(limit or ()), defaults, by_superuser=True)

    async def create(session: AsyncSession) -> tuple[KeyRow, str]:
        user = await find_user(session, email)
        return await keys.create_key(
            session,
            user.account.id,
            name=name or "",
            expires_at=None if expires_in_days is None else _in_days(expires_in_days),
            insufficient_status=int(insufficient_status) if insufficient_status else None,
            force_store_false=force_store_false,
            scopes=scope or NEW_KEY_SCOPES,
            limits=limits.limits,
            bounds=limits.bounds,
            sub_account_from=end_users,
            sub_account_limits=limits_of_each(read_limits(end_user_limit or ())),
            actor=ACTOR,
        )

    key, secret = transact(create)
    _print_secret(key, secret, "created", as_json=as_json)


@app.command("list")
def list_keys(email: Email, *, as_json: AsJson = False) -> None:
    """List a user's keys, including revoked and expired ones."""

    async def find(session: AsyncSession) -> list[KeyRow]:
        user = await find_user(session, email)
        return list(await keys_of(session, user.account.id))

    found = transact(find)
    if as_json:
        print_json([key_fields(key) for key in found])
    else:
        columns = (
            "id prefix name scopes limits made_by_key_id created_at expires_at revoked_at"
            " last_used_at"
        )
        print_table(columns.split(), [_row(key) for key in found])


@app.command("change")
def change_key(  # noqa: PLR0913 - the fields of a key, by name
    key_id: KeyId,
    *,
    name: KeyName = None,
    expires_in_days: Days = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="Let it be valid until it is revoked.")
    ] = False,
    insufficient_status: Annotated[
        ChangedStatus | None,
        typer.Option(
            "--insufficient-status", help="Status of requests that the balance does not cover."
        ),
    ] = None,
    force_store_false: Annotated[
        bool | None,
        typer.Option(
            "--force-store-false/--allow-store",
            help="Send its responses and chats with store: false, or as they are.",
        ),
    ] = None,
    scope: Scopes = None,
    end_users: EndUsers = None,
    end_user_limit: EndUserLimits = None,
    as_json: AsJson = False,
) -> None:
    """Change a key; its secret keeps working. Scopes replace those that it has."""
    changes = KeyChanges()
    if name is not None:
        changes["name"] = name
    if never_expires and expires_in_days is not None:
        msg = "--expires-in-days and --never-expires exclude each other"
        raise typer.BadParameter(msg)
    if never_expires or expires_in_days is not None:
        changes["expires_at"] = None if expires_in_days is None else _in_days(expires_in_days)
    if insufficient_status is not None:
        is_default = insufficient_status is ChangedStatus.DEFAULT
        changes["insufficient_status"] = None if is_default else int(insufficient_status)
    if force_store_false is not None:
        changes["force_store_false"] = force_store_false
    if scope:
        changes["scopes"] = scope
    if end_users is not None:
        changes["sub_account_from"] = None if end_users == NONE else end_users
    if end_user_limit:
        changes["sub_account_limits"] = limits_of_each(read_limits(end_user_limit))
    if not changes:
        msg = "nothing to change: see --help"
        raise typer.BadParameter(msg)
    _report_change(key_id, changes, as_json=as_json)


@app.command("limit")
def limit_key(
    key_id: KeyId,
    limits: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="none as the value: no limit.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Change limits of a key, such as credits_per_day=1000 or models=none; the others stay."""
    _report_change(key_id, KeyChanges(limits=read_limits(limits)), as_json=as_json)


@app.command("show")
def show_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Show a key with its limits, and where requests name their end users."""
    key = transact(lambda session: get_key(session, key_id, None))
    if as_json:
        print_json(key_fields(key))
    else:
        print_table(["field", "value"], _facts(key))


@app.command("rotate")
def rotate_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Give a key a new secret, printed as by `create`; the old one stops working at once.

    Keys that were made with it keep working: after a leak, revoke it instead.
    """
    key, secret = transact(lambda session: keys.rotate_key(session, key_id, None, actor=ACTOR))
    _print_secret(key, secret, "rotated", as_json=as_json)


@app.command("revoke")
def revoke_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Revoke a key and all keys that were made with it, at once and for good."""
    revoked: Revoked = transact(lambda session: revoke(session, key_id, actor=ACTOR))
    key = revoked.key
    if as_json:
        print_json({**key_fields(key), "revoked_with_it": revoked.with_it})
    else:
        print_line(f"Key revoked: {key.id} {key.prefix}…")
        if revoked.with_it:
            print_line(f"Keys made with it, revoked as well: {revoked.with_it:,}")


@app.command("revoke-all")
def revoke_all(
    email: Email,
    *,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="End all sessions and sign-in tokens as well.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke all keys of a user and all keys that were made with them, at once and for good."""

    async def end(session: AsyncSession) -> int:
        account_id = (await find_user(session, email)).account.id
        if tokens:
            await end_tokens(session, account_id, actor=ACTOR)
        return await revoke_all_keys(session, account_id, actor=ACTOR)

    revoked = transact(end)
    if as_json:
        print_json({"revoked": revoked})
    else:
        print_line(f"Keys revoked: {revoked:,}")


def key_fields(key: KeyRow) -> Mapping[str, Document]:
    """Return what is shown of a key once it exists."""
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "insufficient_status": key.insufficient_status,
        "force_store_false": key.force_store_false,
        "scopes": key.scopes,
        "made_by_key_id": key.made_by_key_id,
        "sub_account_from": key.sub_account_from,
        "sub_account_limits": cast("Document", key.sub_account_limits.as_document()),
        **key.limits.values(),
    }


def _facts(key: KeyRow) -> list[dict[str, Value]]:
    """Return a line for each thing that is known of a key."""
    of_each = key.sub_account_limits.as_document()
    shown = {
        name: value
        for name, value in key_fields(key).items()
        if value is not None and name not in LIMITS and name != "sub_account_limits"
    }
    shown |= {name: value for name, value in key.limits.values().items() if value is not None}
    shown |= {f"end user: {name}": cast("Value", value) for name, value in of_each.items()}
    return [{"field": name, "value": _text(value)} for name, value in shown.items()]


def _text(value: Document) -> str:
    match value:
        case tuple() | list():
            return ", ".join(map(str, value)) or "none"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _row(key: KeyRow) -> Fields:
    """Return a key as a row of a table."""
    return {
        **{name: cast("Value", value) for name, value in key_fields(key).items()},
        "limits": _limits(key),
    }


def _limits(key: KeyRow) -> list[str]:
    values = key.limits.values().items()
    return [f"{name}={written(value)}" for name, value in values if value is not None]


def _report_change(key_id: int, changes: KeyChanges, *, as_json: bool) -> None:
    key = transact(
        lambda session: change_key_of(
            session, key_id, None, by_superuser=True, actor=ACTOR, **changes
        )
    )
    if as_json:
        print_json(key_fields(key))
    else:
        print_line(f"Key changed: {key.id} {key.prefix}…")


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _print_secret(key: KeyRow, secret: str, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key.id, "key": secret, **key_fields(key)})
    else:
        print_aside(f"Key {done}: {key.id}. Its secret is shown only once:")
        print_line(secret)

"""`tokenbalance key ...`: API keys. A secret is printed once, when the key is created."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.cli.arguments import ACTOR, AsJson
from tokenbalance.cli.database import transact
from tokenbalance.cli.key_owners import WantedOwner, find_owner
from tokenbalance.cli.key_rows import (
    ShownKey,
    key_facts,
    key_fields,
    list_team_keys,
    print_keys,
    print_secret,
    shown_key,
)
from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
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
from tokenbalance.people.limit_text import NONE, read_limits
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
    email: Annotated[
        str | None,
        typer.Argument(metavar="EMAIL", help="Whose key it is; of a team: who answers for it."),
    ] = None,
    *,
    team: Annotated[
        str | None,
        typer.Option("--team", metavar="TEAM", help="The team that pays, by its id or name."),
    ] = None,
    service: Annotated[
        bool,
        typer.Option("--service", help="A key of the team that nobody in particular answers for."),
    ] = False,
    project: Annotated[
        str | None,
        typer.Option(
            "--project", metavar="PROJECT", help="The project of the team, by its name or id."
        ),
    ] = None,
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

    With --team the team pays. EMAIL is then the member who answers for the key, without whom it
    does not work; with --service, which takes the place of EMAIL, nobody is.

    By default it is for inference only, never expires, and has the limits of
    TOKENBALANCE_KEY_LIMITS.
    """
    owner = WantedOwner(email, team, project, service=service)
    if end_user_limit and end_users is None:
        msg = "--end-user-limit needs --end-users, which says where requests name them"
        raise typer.BadParameter(msg)
    defaults = load_settings().key_limits
    limits = new_limits(read_limits(limit or ()), defaults, by_superuser=True)

    async def create(session: AsyncSession) -> tuple[ShownKey, str]:
        found = await find_owner(session, owner)
        key, secret = await keys.create_key(
            session,
            found.account_id,
            user_id=found.user_id,
            project_id=found.project_id,
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
        return ShownKey(key, found.team_id), secret

    key, secret = transact(create)
    print_secret(key, secret, "created", as_json=as_json)


@app.command("list", cls=OfPayer)
def list_keys(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List the keys of a user or a team, including revoked and expired ones."""
    if team is not None:
        list_team_keys(team, as_json=as_json)
        return

    async def find(session: AsyncSession) -> list[KeyRow]:
        user = await find_user(session, email)
        return list(await keys_of(session, user.account.id))

    print_keys(transact(find), as_json=as_json)


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

    async def find(session: AsyncSession) -> ShownKey:
        return await shown_key(session, await get_key(session, key_id, None))

    key = transact(find)
    if as_json:
        print_json(key_fields(key))
    else:
        print_table(["field", "value"], key_facts(key))


@app.command("rotate")
def rotate_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Give a key a new secret, printed as by `create`; the old one stops working at once.

    Keys that were made with it keep working: after a leak, revoke it instead.
    """

    async def rotate(session: AsyncSession) -> tuple[ShownKey, str]:
        key, secret = await keys.rotate_key(session, key_id, None, actor=ACTOR)
        return await shown_key(session, key), secret

    key, secret = transact(rotate)
    print_secret(key, secret, "rotated", as_json=as_json)


@app.command("revoke")
def revoke_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Revoke a key and all keys that were made with it, at once and for good."""

    async def end(session: AsyncSession) -> tuple[ShownKey, Revoked]:
        revoked = await revoke(session, key_id, actor=ACTOR)
        return await shown_key(session, revoked.key), revoked

    shown, revoked = transact(end)
    key = revoked.key
    if as_json:
        print_json({**key_fields(shown), "revoked_with_it": revoked.with_it})
    else:
        print_line(f"Key revoked: {key.id} {key.prefix}…")
        if revoked.with_it:
            print_line(f"Keys made with it, revoked as well: {revoked.with_it:,}")


@app.command("revoke-all", cls=OfPayer)
def revoke_all(
    email: UserEmail,
    *,
    team: OfTeam = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="End all sessions and sign-in tokens as well.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke all keys of a user or a team, and all made with them, at once and for good."""
    if tokens and team is not None:
        msg = "a team has no sign-in tokens: --team excludes --tokens"
        raise typer.BadParameter(msg)

    async def end(session: AsyncSession) -> int:
        account_id = (await find_payer(session, email, team)).id
        if tokens:
            await end_tokens(session, account_id, actor=ACTOR)
        return await revoke_all_keys(session, account_id, actor=ACTOR)

    revoked = transact(end)
    if as_json:
        print_json({"revoked": revoked})
    else:
        print_line(f"Keys revoked: {revoked:,}")


def _report_change(key_id: int, changes: KeyChanges, *, as_json: bool) -> None:
    async def change(session: AsyncSession) -> ShownKey:
        key = await change_key_of(session, key_id, None, by_superuser=True, actor=ACTOR, **changes)
        return await shown_key(session, key)

    changed = transact(change)
    if as_json:
        print_json(key_fields(changed))
    else:
        print_line(f"Key changed: {changed.key.id} {changed.key.prefix}…")


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)

"""`tokenbalance key ...`: API keys. A secret is printed once, when the key is created."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_aside, print_json, print_line, print_table
from tokenbalance.people import keys
from tokenbalance.people.rows import KeyRow
from tokenbalance.people.users import find_user

app = typer.Typer(name="key", help="Create, list, rotate and revoke API keys.")

KeyId: TypeAlias = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)]


class InsufficientStatus(StrEnum):
    """The statuses for a request that the balance does not cover."""

    PAYMENT_REQUIRED = "402"
    TOO_MANY_REQUESTS = "429"


@app.command("create")
def create_key(
    email: Email,
    *,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    expires_in_days: Annotated[
        int | None,
        typer.Option(
            "--expires-in-days", min=1, max=36_500, help="Days until it expires; default: never."
        ),
    ] = None,
    insufficient_status: Annotated[
        InsufficientStatus | None,
        typer.Option(
            "--insufficient-status",
            help="Status of requests that the balance does not cover; default: the server's.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key; only its secret goes to stdout: KEY=$(tokenbalance key create EMAIL)."""
    lifetime = None if expires_in_days is None else timedelta(days=expires_in_days)
    expires_at = None if lifetime is None else datetime.now(UTC) + lifetime

    async def create(session: AsyncSession) -> tuple[KeyRow, str]:
        user = await find_user(session, email)
        return await keys.create_key(
            session,
            user.account.id,
            name=name,
            expires_at=expires_at,
            insufficient_status=int(insufficient_status) if insufficient_status else None,
            actor=ACTOR,
        )

    key, secret = transact(create)
    _print_secret(key, secret, "created", as_json=as_json)


@app.command("list")
def list_keys(email: Email, *, as_json: AsJson = False) -> None:
    """List a user's keys, including revoked and expired ones."""

    async def find(session: AsyncSession) -> list[KeyRow]:
        user = await find_user(session, email)
        return list(await keys.list_keys(session, user.account.id))

    found = [key_fields(key) for key in transact(find)]
    if as_json:
        print_json(found)
    else:
        columns = "id prefix name created_at expires_at revoked_at last_used_at"
        print_table(columns.split(), found)


@app.command("rotate")
def rotate_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Give a key a new secret, printed as by `create`; the old one stops working at once."""
    key, secret = transact(lambda session: keys.rotate_key(session, key_id, None, ACTOR))
    _print_secret(key, secret, "rotated", as_json=as_json)


@app.command("revoke")
def revoke_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Revoke a key, at once and for good."""
    key = transact(lambda session: keys.revoke_key(session, key_id, actor=ACTOR))
    if as_json:
        print_json(key_fields(key))
    else:
        print_line(f"Key revoked: {key.id} {key.prefix}…")


def key_fields(key: KeyRow) -> Fields:
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
    }


def _print_secret(key: KeyRow, secret: str, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key.id, "key": secret, **key_fields(key)})
    else:
        print_aside(f"Key {done}: {key.id}. Its secret is shown only once:")
        print_line(secret)

"""What is shown of keys. A secret is printed once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_aside, print_json, print_line, print_table
from tokenbalance.cli.team_rows import limits_list
from tokenbalance.people.key_lists import list_keys
from tokenbalance.people.limits import LIMITS
from tokenbalance.people.teams.names import team_named
from tokenbalance.people.teams.projects import list_projects
from tokenbalance.people.users import get_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Document, Fields, Value
    from tokenbalance.people.rows import KeyRow

_COLUMNS: Final = (
    *("id", "prefix", "name", "scopes", "limits", "made_by_key_id"),
    *("created_at", "expires_at", "revoked_at", "last_used_at"),
)
_TEAM_COLUMNS: Final = ("id", "prefix", "name", "email", "project", "is_suspended", *_COLUMNS[3:])


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
        "account_id": key.account_id,
        "user_id": key.user_id,
        "project_id": key.project_id,
        "is_suspended": key.is_suspended,
        "sub_account_from": key.sub_account_from,
        "sub_account_limits": cast("Document", key.sub_account_limits.as_document()),
        **key.limits.values(),
    }


def key_facts(key: KeyRow) -> list[dict[str, Value]]:
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


def print_keys(keys: Sequence[KeyRow], *, as_json: bool) -> None:
    """Print the keys of a user."""
    if as_json:
        print_json([key_fields(key) for key in keys])
    else:
        print_table(_COLUMNS, [_row(key) for key in keys])


def list_team_keys(text: str, *, as_json: bool) -> None:
    """Print the keys of a team that is named so, with who answers for each."""

    async def find(session: AsyncSession) -> list[tuple[KeyRow, Fields]]:
        team = await team_named(session, text)
        projects = {one.id: one.name for one in await list_projects(session, team.id)}
        keys = await list_keys(session, team.id)
        # Also of those who have left.
        ids = {key.user_id for key in keys if key.user_id is not None}
        emails = {one: (await get_user(session, one)).email for one in sorted(ids)}
        return [
            (key, _whose(emails.get(key.user_id or 0, ""), projects.get(key.project_id or 0, "")))
            for key in keys
        ]

    found = transact(find)
    if as_json:
        print_json([{**key_fields(key), **whose} for key, whose in found])
    else:
        rows = [{**_row(key), **whose} for key, whose in found]
        print_table(_TEAM_COLUMNS, rows)


def _whose(email: str, project: str) -> Fields:
    return {"email": email, "project": project}


def _row(key: KeyRow) -> Fields:
    """Return a key as a row of a table."""
    return {
        **{name: cast("Value", value) for name, value in key_fields(key).items()},
        "limits": limits_list(key.limits),
    }


def print_secret(key: KeyRow, secret: str, done: str, *, as_json: bool) -> None:
    """Print a new secret: alone on stdout, for a variable of a shell."""
    if as_json:
        print_json({"id": key.id, "key": secret, **key_fields(key)})
    else:
        print_aside(f"Key {done}: {key.id}. Its secret is shown only once:")
        print_line(secret)

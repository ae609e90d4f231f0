"""What is shown of keys. A secret is printed once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_aside, print_json, print_line, print_table
from tokenbalance.cli.team_rows import limits_list
from tokenbalance.people.account_limits import get_account
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


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key, and whose it is."""

    key: KeyRow
    team_id: int | None
    """None: a user's own."""


async def shown_key(session: AsyncSession, key: KeyRow) -> ShownKey:
    """Find out whose a key is."""
    is_of_team = (await get_account(session, key.account_id)).user_id is None
    return ShownKey(key, key.account_id if is_of_team else None)


def key_fields(shown: ShownKey) -> Mapping[str, Document]:
    """Return what is shown of a key once it exists."""
    key = shown.key
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
        "user_id": key.user_id,
        "team_id": shown.team_id,
        "project_id": key.project_id,
        "is_suspended": key.is_suspended,
        "sub_account_from": key.sub_account_from,
        "sub_account_limits": cast("Document", key.sub_account_limits.as_document()),
        **key.limits.values(),
    }


def key_facts(shown: ShownKey) -> list[dict[str, Value]]:
    """Return a line for each thing that is known of a key."""
    key = shown.key
    of_each = key.sub_account_limits.as_document()
    facts = {
        name: value
        for name, value in key_fields(shown).items()
        if value is not None and name not in LIMITS and name != "sub_account_limits"
    }
    facts |= {name: value for name, value in key.limits.values().items() if value is not None}
    facts |= {f"end user: {name}": cast("Value", value) for name, value in of_each.items()}
    return [{"field": name, "value": _text(value)} for name, value in facts.items()]


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
    found = [ShownKey(key, None) for key in keys]
    if as_json:
        print_json([key_fields(key) for key in found])
    else:
        print_table(_COLUMNS, [_row(key) for key in found])


def list_team_keys(text: str, *, as_json: bool) -> None:
    """Print the keys of a team that is named so, with who answers for each."""

    async def find(session: AsyncSession) -> list[tuple[ShownKey, Fields]]:
        team = await team_named(session, text)
        projects = {one.id: one.name for one in await list_projects(session, team.id)}
        keys = await list_keys(session, team.id)
        # Also of those who have left.
        ids = {key.user_id for key in keys if key.user_id is not None}
        emails = {one: (await get_user(session, one)).email for one in sorted(ids)}
        return [
            (
                ShownKey(key, team.id),
                _whose(emails.get(key.user_id or 0, ""), projects.get(key.project_id or 0, "")),
            )
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


def _row(shown: ShownKey) -> Fields:
    """Return a key as a row of a table."""
    return {
        **{name: cast("Value", value) for name, value in key_fields(shown).items()},
        "limits": limits_list(shown.key.limits),
    }


def print_secret(shown: ShownKey, secret: str, done: str, *, as_json: bool) -> None:
    """Print a new secret: alone on stdout, for a variable of a shell."""
    if as_json:
        print_json({"id": shown.key.id, "key": secret, **key_fields(shown)})
    else:
        print_aside(f"Key {done}: {shown.key.id}. Its secret is shown only once:")
        print_line(secret)

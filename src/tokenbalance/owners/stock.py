"""What accounts have, for operators: listed, adopted, and compared with what the upstream has.

Objects that were made before there were owners, or not through here, are nobody's until somebody
adopts them for a user. Never takes an object from its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.tables import Account, StoredObject, User
from tokenbalance.database.whose import PAYER
from tokenbalance.events import Subject, record
from tokenbalance.owners.rows import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor

_BEGINNINGS: Final = {
    "batch_": "batch",
    "chatcmpl-": "chat_completion",
    "cons_": "voice_consent",
    "conv_": "conversation",
    "cntr_": "container",
    "file-": "file",
    "ft:": "model",
    "ftjob-": "fine_tuning_job",
    "resp_": "response",
    "skill_": "skill",
    "upload_": "upload",
    "voice_": "voice",
    "vs_": "vector_store",
}
"""What the ids of a kind begin with. Whole objects only: parts come with them."""
ADOPTABLE: Final = tuple(sorted(_BEGINNINGS.values()))


class ObjectError(Exception):
    """The objects cannot be adopted; nothing was changed. The message is one line for people."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of an account."""

    id: str
    kind: str
    parent_id: str | None
    state: str | None
    bytes: int | None
    created_at: datetime
    expires_at: datetime | None


class NewOwner(NamedTuple):
    """A user, or a team, who gets objects."""

    user_id: int | None
    """None: a team."""
    account_id: int


async def objects_of(session: AsyncSession, account_id: int, kind: str | None) -> list[Stored]:
    """List what an account has, oldest first; without a kind, all but the items of responses."""
    rows = select(StoredObject).where(
        StoredObject.account_id == account_id,
        StoredObject.deleted_at.is_(None),
        StoredObject.kind.not_in(("item", "listed_item"))
        if kind is None
        else StoredObject.kind == kind,
    )
    found = await session.scalars(rows.order_by(StoredObject.created_at, StoredObject.object_id))
    return [
        Stored(
            row.object_id,
            row.kind,
            row.parent_id,
            row.state,
            row.bytes,
            row.created_at,
            row.expires_at,
        )
        for row in found
    ]


async def adopt(
    session: AsyncSession,
    actor: Actor,
    owner: NewOwner,
    ids: Sequence[str],
    kind: str | None = None,
) -> list[tuple[str, str]]:
    """Make objects of the upstream a user's, or a team's.

    Args:
        session: the caller's transaction.
        actor: who does it.
        owner: who gets them.
        ids: which objects.
        kind: of all of them; None: what each id begins with tells.

    Returns:
        Their kinds and ids.

    Raises:
        ObjectError: a kind is not known, or one of them is somebody else's.

    """
    account_id = owner.account_id
    adopted = [(kind or _kind_of(object_id), object_id) for object_id in dict.fromkeys(ids)]
    for each, object_id in adopted:
        if not is_id(object_id):
            raise ObjectError(f"{object_id[:80]!a} is no id of an object")
        made = insert(StoredObject).values(object_id=object_id, kind=each, account_id=account_id)
        taken = await session.scalar(
            made.on_conflict_do_update(
                index_elements=["object_id", "kind", "upstream"],
                set_={"deleted_at": None},
                where=StoredObject.account_id == account_id,
            ).returning(StoredObject.object_id)
        )
        if taken is None:
            raise ObjectError(f"{object_id} belongs to {await _owner_of(session, each, object_id)}")
        subject = Subject(user_id=owner.user_id, account_id=account_id)
        record(session, actor, "object.adopted", subject, kind=each, object=object_id)
    return adopted


async def known_of(session: AsyncSession, kind: str) -> dict[str, tuple[str, bool]]:
    """Read the objects of a kind of all accounts: their owners, and whether they are deleted.

    An owner is the e-mail of a user, or the name of a team: objects belong to who pays.
    """
    rows = await session.execute(
        select(StoredObject.object_id, PAYER, StoredObject.deleted_at.is_not(None))
        .join(Account, Account.id == StoredObject.account_id)
        .outerjoin(User, User.id == Account.user_id)
        .where(StoredObject.kind == kind)
    )
    return {object_id: (owner, is_deleted) for object_id, owner, is_deleted in rows}


def _kind_of(object_id: str) -> str:
    for beginning, kind in _BEGINNINGS.items():
        if object_id.startswith(beginning):
            return kind
    raise ObjectError(f"{object_id[:80]!a} does not tell its kind: name it with --kind")


async def _owner_of(session: AsyncSession, kind: str, object_id: str) -> str | None:
    owner = (
        select(PAYER)
        .select_from(StoredObject)
        .join(Account, Account.id == StoredObject.account_id)
        .outerjoin(User, User.id == Account.user_id)
    )
    return await session.scalar(
        owner.where(StoredObject.object_id == object_id, StoredObject.kind == kind)
    )

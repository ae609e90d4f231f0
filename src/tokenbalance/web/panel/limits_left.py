"""What is left of the limits of an account and of its newest keys, as pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.people.key_lists import newest_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.database.connections import Session
    from tokenbalance.model.limits import LimitState

_KEYS: Final = 50


@dataclass(frozen=True, slots=True)
class LimitsLeft:
    """What is left, and the names of those whose limits these are."""

    states: Sequence[LimitState]
    whose: Mapping[str, str]


async def limits_left(session: Session, account_id: int) -> LimitsLeft:
    """Read what is left of the limits of an account and of its newest working keys."""
    keys = await newest_keys(session, account_id, _KEYS)
    whose = {ACCOUNT: "all keys"} | {
        subject_of_key(key.id): key.name or f"{key.prefix}…"
        for key in keys
        if key.revoked_at is None
    }
    return LimitsLeft(await limit_states(session, account_id, tuple(whose)), whose)

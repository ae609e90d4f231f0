"""Limits and their bounds: what the owner of a key may change, and what only a superuser may.

    limits    what is in force; the owner of the key may make them tighter, and looser within bounds
    bounds    the loosest that the owner may set: what a superuser has set for the key, and the
              operator's limits for new keys; only a superuser changes them

Both are stored in the one document of the key. Those of members and projects of teams are the same,
and admins of the team are their owners. Pure: no database and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.people.limits import NO_LIMITS, InvalidLimit, KeyLimits
from tokenbalance.people.tighter_limits import tighter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.people.limits import LimitChanges

_BOUNDS: Final = "bounds"
SUPERUSERS: Final = "the limits that a superuser has set"


@dataclass(frozen=True, slots=True)
class BoundedLimits:
    """Limits, with what their owner cannot change of them."""

    limits: KeyLimits = NO_LIMITS
    bounds: KeyLimits = NO_LIMITS

    def as_document(self) -> Document:
        """Return all of it, as it is stored with the key."""
        document = dict(self.limits.as_document())
        bounds = self.bounds.as_document()
        if bounds:
            document[_BOUNDS] = bounds
        return document

    @classmethod
    def stored(cls, document: Mapping[str, object]) -> BoundedLimits:
        """Read what is stored with a key."""
        bounds = cast("Mapping[str, object]", document.get(_BOUNDS, {}))
        return cls(KeyLimits.stored(document), KeyLimits.stored(bounds))

    def changed(self, changes: LimitChanges, *, by_superuser: bool) -> BoundedLimits:
        """Change limits; None: no limit, or as far as the bound of the owner.

        Args:
            changes: the new values by name; the others stay.
            by_superuser: what is set becomes the bound of the owner, what is removed has none.

        Raises:
            InvalidLimit: it is looser than the bound.

        """
        wanted = _with(self.limits, changes)
        if by_superuser:
            return BoundedLimits(wanted, _with(self.bounds, changes))
        for name, bound in self.bounds.values().items():
            value = changes.get(name)
            if isinstance(value, int) and isinstance(bound, int) and value > bound:
                msg = f"must be at most {bound:,}, which a superuser has set"
                raise InvalidLimit(name, msg)
        return BoundedLimits(tighter(wanted, self.bounds, SUPERUSERS), self.bounds)


def new_limits(wanted: LimitChanges, defaults: KeyLimits, *, by_superuser: bool) -> BoundedLimits:
    """Return the limits of a new key.

    Args:
        wanted: the limits that are asked for; None: not the default either.
        defaults: the operator's limits for new keys.
        by_superuser: may go beyond the defaults.

    Raises:
        InvalidLimit: a limit is looser than the default.

    """
    return BoundedLimits(defaults, defaults).changed(wanted, by_superuser=by_superuser)


def _with(limits: KeyLimits, changes: LimitChanges) -> KeyLimits:
    return KeyLimits(**{**limits.values(), **changes})  # pyright: ignore[reportArgumentType] - of the types of both

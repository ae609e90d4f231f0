"""Pages of lists that stay in their order while rows are added: each begins after a row, by value.

A cursor is opaque to people: the values that the last row of a page is sorted by.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar, cast

import orjson

from tokenbalance.database.ids import ID_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

Key: TypeAlias = tuple[str | int | None, ...]
"""What a row is sorted by, and no other row of the list has."""

PAGE_ROWS: Final = 100
PAGE_ROWS_MAX: Final = 1000


class InvalidCursor(ValueError):
    """Not what a page gave as its `next`."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    data: Sequence[T]
    next: str | None
    """What the page that follows begins after; None when there is none."""

    @property
    def has_more(self) -> bool:
        """Whether there are rows after these."""
        return self.next is not None


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], Key]) -> Page[T]:
    """Make a page of rows that were asked for with one more than its limit."""
    data = rows[:limit]
    return Page(data, cursor(key(data[-1])) if len(rows) > limit else None)


def cursor(key: Key) -> str:
    """Write what a page begins after."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def read_cursor(text: str, kinds: tuple[type, ...]) -> Key:
    """Read a cursor whose values have these types.

    Raises:
        InvalidCursor: it is none, or of another list.

    """
    try:
        document = cast(
            "object",
            orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)),
        )
    except (ValueError, binascii.Error):
        document = None
    values = cast("list[object]", document) if isinstance(document, list) else []
    if len(values) != len(kinds) or not all(map(_is_fit, values, kinds)):
        msg = "not a cursor of this list: pass the `next` of the page before"
        raise InvalidCursor(msg)
    return cast("Key", tuple(values))


def _is_fit(value: object, kind: type) -> bool:
    """Whether a value is of its column's type, and one that the database can compare."""
    if type(value) is not kind:
        return False
    if isinstance(value, str):
        return value.isprintable()
    return not isinstance(value, int) or abs(value) <= ID_MAX

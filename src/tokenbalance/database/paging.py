"""Pages of lists whose order stays stable while rows are added: each page starts after a given row.

A cursor is opaque to clients: it encodes the values by which the last row of a page is sorted.
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
"""The values by which a row is sorted; unique within the list."""

PAGE_ROWS: Final = 100
PAGE_ROWS_MAX: Final = 1000
NOT_A_CURSOR: Final = "not a cursor of this list: pass the `next` of the previous page"


class InvalidCursor(ValueError):
    """Not a cursor that a page of this list returned as `next`."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    data: Sequence[T]
    next: str | None
    """The cursor of the next page; None on the last page."""

    @property
    def has_more(self) -> bool:
        """Whether another page follows."""
        return self.next is not None


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], Key]) -> Page[T]:
    """Make a page from rows that were queried with a limit of one more."""
    data = rows[:limit]
    return Page(data, cursor(key(data[-1])) if len(rows) > limit else None)


def cursor(key: Key) -> str:
    """Encode the row after which a page starts."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def read_cursor(text: str, kinds: tuple[type, ...]) -> Key:
    """Decode a cursor whose values have these types.

    Raises:
        InvalidCursor: it is not a cursor, or one of another list.

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
        raise InvalidCursor(NOT_A_CURSOR)
    return cast("Key", tuple(values))


def _is_fit(value: object, kind: type) -> bool:
    """Whether a value has the type of its column, and the database can compare it."""
    if type(value) is not kind:
        return False
    if isinstance(value, str):
        return value.isprintable()
    return not isinstance(value, int) or abs(value) <= ID_MAX

"""Objects as rows of the table: the JSON that statements and the journal take.

A statement may carry a charge as well, and must not fail by what an upstream or a client has
written into an object. So what the database would refuse is left out here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tokenbalance.model.objects import Found

_ID_CHARS_MAX: Final = 512
"""As the table has it."""
_STATE_CHARS_MAX: Final = 64
_BIGINT_MAX: Final = 2**63 - 1
_MOMENT_MAX: Final = 253_402_300_799
"""The end of the year 9999."""
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""The escaped character that the database has no room for."""


def is_id(text: str) -> bool:
    """Whether the table can have this id; otherwise nobody has it."""
    return _is_text(text, _ID_CHARS_MAX)


def rows_of(found: Iterable[Found]) -> str:
    """Write objects as a JSON list of rows; of those with one kind and id the last one counts.

    An id that the table cannot have is left out: nobody will ever own it.
    """
    rows = {(one.kind, one.id): _row(one) for one in found if is_id(one.id)}
    return orjson.dumps([*rows.values()]).decode()


def _row(one: Found) -> Mapping[str, object]:
    row: dict[str, object] = {"object_id": one.id, "kind": one.kind}
    if one.parent is not None and is_id(one.parent):
        row["parent_id"] = one.parent
    if one.state is not None and _is_text(one.state, _STATE_CHARS_MAX):
        row["state"] = one.state
    if one.size is not None and 0 <= one.size <= _BIGINT_MAX:
        row["bytes"] = one.size
    if one.tokens is not None and 0 <= one.tokens <= _BIGINT_MAX:
        row["tokens"] = one.tokens
    if one.expires_at is not None and 0 <= one.expires_at <= _MOMENT_MAX:
        row["expires_at"] = one.expires_at
    if one.snapshot is not None:
        row["snapshot"] = orjson.Fragment(_storable(one.snapshot))
    return row


def _storable(snapshot: str) -> str:
    return _NUL.sub(r"\1\\ufffd", snapshot) if r"\u0000" in snapshot else snapshot


def _is_text(text: str, most: int) -> bool:
    """Whether a text is short, and has no character that cannot be stored."""
    return 0 < len(text) <= most and text.isprintable()

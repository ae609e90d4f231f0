"""The format of a journal of objects: a header, and a line for each time that objects were found.

    {"format":"tokenbalance objects","version":1}
    <CRC-32 of what follows, 8 digits> {"account_id":..,"key_id":..,"objects":[..]}

A line is appended by one write and never changed. It must never touch a file.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple, TypeGuard, cast

import orjson

HEADER: Final = b'{"format":"tokenbalance objects","version":1}\n'
_CHECKSUM_BYTES: Final = 9


class Written(NamedTuple):
    """What one line says."""

    account_id: int
    key_id: int | None
    rows: str
    """The objects as `owners.rows` writes them."""


def line_of(written: Written) -> bytes:
    """Write a line."""
    payload = orjson.dumps(
        {
            "account_id": written.account_id,
            "key_id": written.key_id,
            "objects": orjson.Fragment(written.rows),
        }
    )
    # Between the tokens of JSON a line break is a blank; within a text it is escaped.
    payload = payload.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def read_lines(text: bytes) -> tuple[list[Written], int] | None:
    """Read a file.

    Returns:
        What it says, and how many of its lines are damaged. The last one does not count if it was
        written in part: what it was to say was never passed on. None: the format is unknown.

    """
    if not text.startswith(HEADER):
        # A process that died while it wrote the header has written nothing else.
        return ([], 0) if HEADER.startswith(text) else None
    *lines, _torn = text[len(HEADER) :].split(b"\n")
    read = [_read(line) for line in lines]
    whole = [written for written in read if written is not None]
    return whole, len(read) - len(whole)


def _read(line: bytes) -> Written | None:
    payload = line[_CHECKSUM_BYTES:]
    if line[:_CHECKSUM_BYTES] != b"%08x " % zlib.crc32(payload):
        return None
    members = cast("object", orjson.loads(payload))
    if not _is_object(members):
        return None
    account_id, key_id, rows = (members.get(name) for name in ("account_id", "key_id", "objects"))
    if not isinstance(account_id, int) or not (key_id is None or isinstance(key_id, int)):
        return None
    return Written(account_id, key_id, orjson.dumps(rows).decode())


def _is_object(members: object) -> TypeGuard[dict[str, object]]:
    return isinstance(members, dict)

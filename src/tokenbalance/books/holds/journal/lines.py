"""The format of a journal file: its header and its slots, written to bytes and read back.

It must never touch a file.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import orjson
from pydantic import TypeAdapter, ValidationError

from tokenbalance.books.holds.journal.packing import packed_rates, unpacked_rates
from tokenbalance.books.pricing.units import INPUT, OUTPUT, UNITS
from tokenbalance.model import Usage
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

SLOT_BYTES: Final = 512
"""A disk sector, the largest piece that is written atomically. No slot crosses a page."""

SLOTS_MAX: Final = 65_536
"""The most requests in progress in one process; the file then has 32 MiB and a header."""

USAGE_BYTES_MAX: Final = 280
"""Room kept in every slot for the usage to come. Nine counts of the largest size that an upstream
may report (16 digits) need less, and so does any true usage of one model with its fees and tier. An
entry of usual length leaves room for a second bill too; what needs more than that is written
without what its sides divide into."""

VERSION: Final = 5
"""Must be raised with any change to a line; the header has the same form in all versions."""

_READABLE: Final = frozenset({1, 2, 3, 4, VERSION})
"""Version 4 has no limits, version 3 the whole text of rates. Versions 1 and 2 name the kinds that
were not used too, in 1 without image tokens."""

_PARTS: Final = frozenset(part for _, parts in UNITS.sides for part in parts)

_FORMAT = "tokenbalance journal"
_HEADER_STATE = b"h"
_PREFIX_BYTES = 11
_PAYLOAD_BYTES = SLOT_BYTES - _PREFIX_BYTES - 1

FREED: Final = b" " * _PREFIX_BYTES
"""Frees a slot when written over the beginning of its line."""


class State(bytes, enum.Enum):
    """How far a request has got: the first byte of its slot."""

    FREE = b" "
    PLACING = b"p"
    VOID = b"v"
    DISPATCHED = b"d"
    USED = b"u"


class PlacedWith(NamedTuple):
    """A hold as it was placed, in case the database has forgotten it as well."""

    amount: int
    model: str | None
    rates: str | None
    """As these are stored with the hold."""
    known_input: int
    estimated_output: int
    tokens: int = 0
    """What it took from limits of tokens."""
    limit_ids: tuple[int, ...] | None = None
    """The limits that it took from; None: none."""


@value
class Entry:
    """The identity of a request, by which its hold can be found and ended."""

    request_id: str
    account_id: int
    key_id: int
    endpoint: str
    hold: PlacedWith | None = None
    """None until the request is dispatched, in lines of earlier versions, and where the slot has no
    room for it."""

    def held(self, hold: PlacedWith | None) -> Entry:
        """The same entry with this hold."""
        return Entry(self.request_id, self.account_id, self.key_id, self.endpoint, hold)


Known: TypeAlias = "tuple[State, Usage | None]"
"""What a slot records of its request."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who wrote a file, in which format, and during which boot of the machine."""

    format: str
    version: int
    boot_id: str | None
    pid: int

    @property
    def readable(self) -> bool:
        """Whether the lines of the file can be read."""
        return self.format == _FORMAT and self.version in _READABLE


@dataclass(frozen=True, slots=True)
class _Payload:
    entry: Entry
    usage: dict[str, int | bool] | None


_PAYLOAD = TypeAdapter(_Payload)
_HEADER = TypeAdapter(Header)


def slot_line(entry: Entry, known: Known) -> bytes:
    """Write a slot.

    Raises:
        ValueError: the entry does not fit in a slot together with the usage to come.

    """
    state, usage = known
    if state is State.FREE:
        return b" " * (SLOT_BYTES - 1) + b"\n"
    payload = _payload(entry, usage)
    # What the hold needs is given up for a usage.
    is_final = usage is not None or entry.hold is not None
    room = _PAYLOAD_BYTES if is_final else _PAYLOAD_BYTES - USAGE_BYTES_MAX
    if len(payload) <= room:
        return _sealed(state, payload)
    if entry.hold is not None:
        return slot_line(entry.held(None), known)
    if usage is not None:
        payload = _payload(entry, _without(usage, _PARTS))
    if usage is not None and len(payload) > _PAYLOAD_BYTES:
        # Only counts that cannot be true, of many kinds, need so much.
        payload = _payload(entry, _without(usage, usage.quantities.keys() - {INPUT, OUTPUT}))
    if len(payload) > room:
        raise ValueError("The entry does not fit in a slot.")
    return _sealed(state, payload)


def read_slot(line: bytes) -> tuple[Entry, State, Usage | None] | None:
    """Read a slot that is not free; None if it is damaged."""
    payload = _unsealed(line)
    if payload is None:
        return None
    try:
        state = State(line[:1])
        read = _with_rates(_PAYLOAD.validate_json(payload, strict=True))
        usage = None if read.usage is None else _usage_of(read.usage)
    except ValueError:
        return None
    if usage is not None:
        state = State.USED
    elif state is State.USED:
        # Only the state reached the file, not the usage.
        state = State.DISPATCHED
    return read.entry, state, usage


def _with_rates(read: _Payload) -> _Payload:
    """Unpack the rates of a hold.

    Raises:
        ValueError: they are damaged.

    """
    hold = read.entry.hold
    if hold is None or hold.rates is None:
        return read
    return _Payload(read.entry.held(hold._replace(rates=unpacked_rates(hold.rates))), read.usage)


def _payload(entry: Entry, usage: Usage | None) -> bytes:
    named: dict[str, object] = {
        "request_id": entry.request_id,
        "account_id": entry.account_id,
        "key_id": entry.key_id,
        "endpoint": entry.endpoint,
    }
    if (hold := entry.hold) is not None:
        amount, model, rates, known_input, estimated_output, tokens, limit_ids = hold
        packed = None if rates is None else packed_rates(rates)
        written = [amount, model, packed, known_input, estimated_output]
        # Most took from no limit.
        named["hold"] = written if limit_ids is None else [*written, tokens, limit_ids]
    if usage is None:
        return orjson.dumps({"entry": named, "usage": None})
    used = {**usage.quantities, "total": usage.total, "estimated": usage.estimated}
    return orjson.dumps({"entry": named, "usage": used})


def _without(usage: Usage, kinds: AbstractSet[str]) -> Usage:
    left = usage.quantities.items()
    return replace(usage, quantities={kind: count for kind, count in left if kind not in kinds})


def _usage_of(members: dict[str, int | bool]) -> Usage:
    """Read the members of a usage.

    Raises:
        ValueError: one of them has a value of another type.

    """
    estimated, total = members.pop("estimated", False), members.pop("total", 0)
    counts = (total, *members.values())
    if not isinstance(estimated, bool) or any(isinstance(count, bool) for count in counts):
        raise ValueError("A count is no integer, or the mark of an estimate is one.")
    return Usage(members, total, estimated)


def header_line(boot_id: str | None, pid: int) -> bytes:
    """Write a header of the current version."""
    return _sealed(_HEADER_STATE, orjson.dumps(Header(_FORMAT, VERSION, boot_id, pid)))


def read_header(line: bytes) -> Header | None:
    """Read a header; None if it is damaged."""
    payload = _unsealed(line)
    if payload is None:
        return None
    try:
        return _HEADER.validate_json(payload, strict=True)
    except ValidationError:
        # A valid header of a version that is unknown here.
        return Header("", 0, None, 0)


def _sealed(state: bytes, payload: bytes) -> bytes:
    text = payload.ljust(_PAYLOAD_BYTES) + b"\n"
    return b"%b %08x %b" % (state, zlib.crc32(text), text)


def _unsealed(line: bytes) -> bytes | None:
    """The payload of a line; None if its checksum is wrong."""
    text = line[_PREFIX_BYTES:]
    whole = len(line) == SLOT_BYTES and line[1:_PREFIX_BYTES] == b" %08x " % zlib.crc32(text)
    return text if whole else None

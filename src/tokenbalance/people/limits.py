"""Limits as people set them: which there are, which values are valid, and how they are written.

Pure: no database and no clock. Nothing is counted or refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.model import JSON_INTEGER_MAX
from tokenbalance.model.limits import ENDPOINT_GROUPS
from tokenbalance.people.model_patterns import DENIES, useless_denial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenbalance.model import Document

LimitValue: TypeAlias = int | tuple[str, ...] | None
"""None: no limit."""

LimitChanges: TypeAlias = "Mapping[str, LimitValue]"
"""New values of limits, by name; the others stay as they are."""

LIMIT_MAX: Final = JSON_INTEGER_MAX
LIST_MAX: Final = 100
"""Most entries of a list."""
MODEL_PATTERN_CHARS_MAX: Final = 200
_MAPPED: Final = int(IPv6Network("::ffff:0:0/96").network_address)
_MAPPED_BITS: Final = 96
_WORD: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class InvalidLimit(ValueError):
    """A limit is not valid; the message is one line for people and begins with the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Limits of a key or an account; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    credits_per_day: int | None = None
    credits_per_week: int | None = None
    credits_per_month: int | None = None
    parallel_requests: int | None = None
    credits_total: int | None = None
    """Credits over the lifetime of the key."""
    credits_per_request: int | None = None
    """The most credits that one request may hold."""
    models: tuple[str, ...] | None = None
    """Patterns such as `gpt-4o-*` in order: the first that matches the name of the model decides;
    one that begins with `!` forbids, and what none matches is forbidden."""
    endpoints: tuple[str, ...] | None = None
    """Groups of endpoints, such as `chat`."""
    addresses: tuple[str, ...] | None = None
    """Networks of clients in CIDR notation."""
    service_tiers: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    """Types of tools that the upstream runs itself; empty: none of them."""

    def as_document(self) -> Document:
        """Return the limits that are set, as JSON."""
        document = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.values().items()
            if value is not None
        }
        return cast("Document", document)

    def values(self) -> Mapping[str, LimitValue]:
        """Return all limits by name, also those that are not set."""
        return {name: cast("LimitValue", getattr(self, name)) for name in LIMITS}

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> KeyLimits:
        """Read limits from JSON; null: no limit.

        Raises:
            InvalidLimit: one of them is unknown or not valid.

        """
        return cls(**{name: limit_value(name, value) for name, value in document.items()})  # pyright: ignore[reportArgumentType] - each is checked

    @classmethod
    def stored(cls, document: Mapping[str, object]) -> KeyLimits:
        """Read limits that were checked before they were stored; anything else is left out."""
        values = {
            name: tuple(cast("list[str]", value)) if isinstance(value, list) else value
            for name, value in document.items()
            if name in _CHECKS
        }
        return cls(**values)  # pyright: ignore[reportArgumentType] - checked when they were stored


NO_LIMITS: Final = KeyLimits()
LIMITS: Final = tuple(field.name for field in fields(KeyLimits))


def limit_value(name: str, value: object) -> LimitValue:
    """Return the value of a limit in its usual form; None: no limit.

    Raises:
        InvalidLimit: the limit is unknown, or the value is not valid.

    """
    check = _CHECKS.get(name)
    if check is None:
        raise InvalidLimit(name, f"is not a known limit; there are {', '.join(LIMITS)}")
    return None if value is None else check(name, value)


def _number(field: str, value: object) -> int:
    # A boolean is an integer to Python, and a mistake here.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
        raise InvalidLimit(field, f"must be an integer from 1 to {LIMIT_MAX:,}, or null")
    return value


def _models(field: str, value: object) -> tuple[str, ...]:
    patterns = _entries(
        field,
        value,
        _is_pattern,
        "patterns without spaces, each of 1 to"
        f" {MODEL_PATTERN_CHARS_MAX} characters after '{DENIES}'",
    )
    if all(pattern.startswith(DENIES) for pattern in patterns):
        raise InvalidLimit(
            field,
            f"needs a pattern without '{DENIES}', such as '*' at the end: all others are forbidden",
        )
    useless = useless_denial(patterns)
    if useless is not None:
        raise InvalidLimit(
            field, f"{useless[0]!a} must come before {useless[1]!a}: the first that matches decides"
        )
    return patterns


def _is_pattern(text: str) -> bool:
    text = text.removeprefix(DENIES)
    is_short = 1 <= len(text) <= MODEL_PATTERN_CHARS_MAX
    return is_short and text.isprintable() and " " not in text and not text.startswith(DENIES)


def _endpoints(field: str, value: object) -> tuple[str, ...]:
    known = f"of {', '.join(ENDPOINT_GROUPS)}"
    return _once(_entries(field, value, ENDPOINT_GROUPS.__contains__, known))


def _addresses(field: str, value: object) -> tuple[str, ...]:
    addresses = _entries(field, value, lambda _text: True, "addresses or networks")
    return _once(tuple(str(_network(field, address)) for address in addresses))


def _network(field: str, text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise InvalidLimit(
            field, f"{text[:50]!a} is neither an IP address nor a network such as 192.0.2.0/24"
        )
    address, has_length, _ = text.partition("/")
    if has_length and ip_network(address).network_address != network.network_address:
        raise InvalidLimit(field, f"{text[:50]!a} has bits beyond its length: write {network}")
    return _unmapped(network)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4-mapped IPv6 addresses as one of IPv4."""
    number = int(network.network_address)
    if isinstance(network, IPv4Network) or network.prefixlen < _MAPPED_BITS:
        return network
    if number >> 32 != _MAPPED >> 32:
        return network
    return IPv4Network((number - _MAPPED, network.prefixlen - _MAPPED_BITS))


def _tiers(field: str, value: object) -> tuple[str, ...]:
    return _once(_entries(field, value, _is_word, "words such as 'flex'"))


def _tools(field: str, value: object) -> tuple[str, ...]:
    # None at all is a limit as well: no hosted tools.
    words = "words such as 'web_search'"
    return _once(_entries(field, value, _is_word, words, fewest=0))


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None


def _entries(
    field: str, value: object, is_valid: Callable[[str], bool], what: str, *, fewest: int = 1
) -> tuple[str, ...]:
    """Return a list of texts.

    Raises:
        InvalidLimit: it is not a list, it has too few or too many entries, or one is not valid.

    """
    entries = list(cast("list[object]", value)) if isinstance(value, (list, tuple)) else None
    if (
        entries is None
        or not fewest <= len(entries) <= LIST_MAX
        or not all(isinstance(entry, str) and is_valid(entry) for entry in entries)
    ):
        raise InvalidLimit(field, f"must be a list of {fewest} to {LIST_MAX} {what}, or null")
    return tuple(cast("list[str]", entries))


def _once(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entries))


_CHECKS: Final[Mapping[str, Callable[[str, object], int | tuple[str, ...]]]] = {
    name: {
        "models": _models,
        "endpoints": _endpoints,
        "addresses": _addresses,
        "service_tiers": _tiers,
        "tools": _tools,
    }.get(name, _number)
    for name in LIMITS
}

"""Of two sets of limits, the tighter: what a key gives to the keys made with it.

Pure: no database and no clock.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.people.limits import LIMITS, InvalidLimit, KeyLimits
from tokenbalance.people.model_patterns import DENIES, denials_before

if TYPE_CHECKING:
    from collections.abc import Callable

    _List: TypeAlias = tuple[str, ...]

OF_MAKER: Final = "the key that it is made with"


def tighter(wanted: KeyLimits, most: KeyLimits, whose: str = OF_MAKER) -> KeyLimits:
    """Return limits that are within others: of each number the lower, and lists as wanted.

    What `most` forbids stays forbidden.

    Args:
        wanted: the limits that are asked for.
        most: what they may allow at most.
        whose: the owner of `most`, for people.

    Raises:
        InvalidLimit: a list has something that the other does not allow, or not obviously.

    """
    theirs = most.values()
    values = {
        name: _within(name, value, theirs[name], whose) for name, value in wanted.values().items()
    }
    return KeyLimits(**values)  # pyright: ignore[reportArgumentType] - of the types of both


def narrowed(limits: KeyLimits, most: KeyLimits) -> KeyLimits:
    """Return what is left of limits, once no more than `most` is allowed.

    Raises:
        InvalidLimit: nothing of a list would be left, or not obviously.

    """
    values = dict(limits.values())
    for name, theirs in most.values().items():
        own = values[name]
        if isinstance(own, tuple) and isinstance(theirs, tuple):
            values[name] = _left_of(name, own, theirs)
    return tighter(KeyLimits(**values), most)  # pyright: ignore[reportArgumentType] - as they were


def _left_of(name: str, own: _List, theirs: _List) -> _List:
    if name == "models":
        left = own if _is_within_models(own, theirs) else theirs
        if left is theirs and not _is_within_models(theirs, own):
            left = tuple(
                one for one in own if one[:1] == DENIES or denials_before(one, theirs) is not None
            )
        is_left = any(one[:1] != DENIES for one in left)
    else:
        is_within = _is_within[name]
        left = tuple(one for one in own if is_within(one, theirs))
        left += tuple(one for one in theirs if one not in left and is_within(one, own))
        is_left = bool(left) or name == "tools"
    if not is_left:
        raise InvalidLimit(name, "nothing of it would be left")
    return left


def _is_within_models(own: _List, theirs: _List) -> bool:
    return all(one[:1] == DENIES or denials_before(one, theirs) is not None for one in own)


def _within(
    name: str, own: int | _List | None, theirs: int | _List | None, whose: str
) -> int | _List | None:
    if own is None or theirs is None:
        return theirs if own is None else own
    if isinstance(own, int) or isinstance(theirs, int):
        return min(one for one in (own, theirs) if isinstance(one, int))
    if name == "models":
        return _models_within(own, theirs, whose)
    for one in own:
        if not _is_within[name](one, theirs):
            raise InvalidLimit(name, f"{one!r} is not among the {_words(name)} of {whose}")
    return own


def _models_within(own: _List, theirs: _List, whose: str) -> _List:
    """Return the patterns, each after what the others forbid of the names that it matches."""
    within: list[str] = []
    for pattern in own:
        if not pattern.startswith(DENIES):
            denials = denials_before(pattern, theirs)
            if denials is None:
                raise InvalidLimit("models", f"{pattern!r} is not among the models of {whose}")
            within += [denied for denied in denials if denied not in within]
        within.append(pattern)
    return tuple(dict.fromkeys(within))


def _is_network_within(one: str, theirs: _List) -> bool:
    network = ip_network(one)
    return any(_contains(ip_network(other), network) for other in theirs)


def _contains(wider: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> bool:
    if isinstance(wider, IPv4Network):
        return isinstance(network, IPv4Network) and network.subnet_of(wider)
    return isinstance(network, IPv6Network) and network.subnet_of(wider)


def _is_listed(one: str, theirs: _List) -> bool:
    return one in theirs


_is_within: Final[dict[str, Callable[[str, _List], bool]]] = {
    name: _is_network_within if name == "addresses" else _is_listed for name in LIMITS
}


def _words(name: str) -> str:
    return name.replace("_", " ")

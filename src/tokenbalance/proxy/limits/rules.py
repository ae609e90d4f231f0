"""Whether the rules of a key let a request pass: addresses, endpoints, models, tiers and tools.

Pure: no I/O, no clock. Every subject's rules must let it pass. The order of the checks is that in
which a request becomes known: its address, its endpoint, and then what its body asks for.
"""

from __future__ import annotations

import ipaddress
import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.errors import (
    EndpointNotAllowed,
    IpNotAllowed,
    ModelNotAllowed,
    ModelNotFound,
    ServiceTierNotAllowed,
    ToolNotAllowed,
)
from tokenbalance.model.model_names import forms_of
from tokenbalance.openai.conditions import hosted_tools, models_of_tools
from tokenbalance.openai.tokens.models import shown_name
from tokenbalance.proxy.limits.naming import limit_header, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenbalance.errors import ProxyError
    from tokenbalance.model import Policy, Rules
    from tokenbalance.openai.operation import Operation
    from tokenbalance.proxy.asked import Asked

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

DENIES: Final = "!"
"""How a pattern of models begins that forbids what it matches."""
_CACHED: Final = 4096
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_USUAL_TIERS: Final = frozenset({"auto", "default", "standard"})
"""Names of what a request is served at that asks for no tier."""


def check_address(policy: Policy, address: str) -> None:
    """Make sure that requests may come from an address.

    Args:
        policy: of the key.
        address: of the client; "" if it has none, which no network contains.

    Raises:
        IpNotAllowed: a subject's networks do not contain it.

    """
    for rules in policy.rules:
        if rules.addresses is not None and not _is_within(address, rules.addresses):
            msg = (
                f"Requests from {address or 'a client without an address'} are not allowed for"
                f" {owner_of(rules.subject)}."
            )
            raise _named(IpNotAllowed(msg), rules, "addresses")


def check_endpoint(policy: Policy, operation: Operation, path: bytes) -> None:
    """Make sure that an operation may be used.

    Args:
        policy: of the key.
        operation: what is asked for.
        path: raw, below `/v1`.

    Raises:
        EndpointNotAllowed: it is not of a group that a subject may use.

    """
    group = operation.group_at(path)
    for rules in policy.rules:
        if rules.endpoints is not None and group not in rules.endpoints:
            msg = (
                f"Endpoints of the group `{group}` are not allowed for {owner_of(rules.subject)}."
                f" Allowed: {', '.join(rules.endpoints) or 'none'}."
            )
            raise _named(EndpointNotAllowed(msg), rules, "endpoints")


def check_seen_model(policy: Policy, name: str) -> None:
    """Make sure that a model may be looked at; its absence is told as the upstream would.

    Raises:
        ModelNotFound: a subject may not use it.

    """
    for rules in policy.rules:
        if rules.models is not None and not allows_model(rules.models, name):
            msg = f"The model '{name}' does not exist"
            raise _named(ModelNotFound(msg, param="model"), rules, "models")


def check_asked(policy: Policy, asked: Asked) -> None:
    """Make sure that a request may be sent as it was read.

    Raises:
        ModelNotAllowed: a subject may not use its model, or one of its tools'.
        ServiceTierNotAllowed, ToolNotAllowed: nor its service tier, nor a tool.

    """
    for rules in policy.rules:
        if rules.models is not None:
            _check_models(rules, rules.models, asked)
        if rules.service_tiers is not None:
            _check_tier(rules, rules.service_tiers, asked)
        if rules.tools is not None:
            _check_tools(rules, rules.tools, asked)


def hides_model(policy: Policy) -> Callable[[str], bool] | None:
    """Return what says of a model whether lists are without it; None if none is."""
    lists = [rules.models for rules in policy.rules if rules.models is not None]
    if not lists:
        return None
    return lambda name: not all(allows_model(patterns, name) for patterns in lists)


@lru_cache(_CACHED)
def allows_model(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a list of patterns allows a model: the first that matches decides.

    Compared are the name and that of the model which it stands for, in any case of letters. What
    nothing matches is refused, unless the list does nothing but forbid.
    """
    names = forms_of(name)
    for pattern in patterns:
        if any(_pattern(pattern.removeprefix(DENIES)).match(each) for each in names):
            return not pattern.startswith(DENIES)
    return all(pattern.startswith(DENIES) for pattern in patterns)


@lru_cache(_CACHED)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.casefold()))


@lru_cache(_CACHED)
def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    known = _address(address)
    return known is not None and any(known in network for network in map(_network, networks))


def _address(text: str) -> _Address | None:
    """Read an address; an IPv4 address that IPv6 carries is one of IPv4. None: it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


@lru_cache(_CACHED)
def _network(text: str) -> _Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    low = int(network.network_address) & 0xFFFF_FFFF
    return ipaddress.IPv4Network((low, network.prefixlen - _MAPPED.prefixlen))


def _check_models(rules: Rules, patterns: tuple[str, ...], asked: Asked) -> None:
    for name, param in _models_of(asked):
        if not allows_model(patterns, name):
            msg = (
                f"The model `{shown_name(name)}` is not allowed for {owner_of(rules.subject)}."
                " GET /v1/models lists those that are."
            )
            raise _named(ModelNotAllowed(msg, param=param), rules, "models")


def _models_of(asked: Asked) -> Iterator[tuple[str, str]]:
    """Yield every model that a request names, with where it does."""
    if asked.operation.family.fee is None and asked.model is not None:
        yield asked.model, "model"
    yield from models_of_tools(asked.operation, asked.document)


def _check_tier(rules: Rules, tiers: tuple[str, ...], asked: Asked) -> None:
    tier = asked.document.get("service_tier")
    ceiling = asked.operation.ceiling
    if tier is None and (ceiling is None or ceiling.offers is None):
        # It has no tiers.
        return
    is_usual = tier is None or tier in _USUAL_TIERS
    if tier not in tiers and not (is_usual and not _USUAL_TIERS.isdisjoint(tiers)):
        shown = "auto" if tier is None else shown_name(str(tier))
        msg = (
            f"The service_tier `{shown}` is not allowed for {owner_of(rules.subject)}."
            f" Allowed: {', '.join(tiers) or 'none'}."
        )
        raise _named(ServiceTierNotAllowed(msg, param="service_tier"), rules, "service_tiers")


def _check_tools(rules: Rules, allowed: tuple[str, ...], asked: Asked) -> None:
    for kinds, param in hosted_tools(asked.operation, asked.document):
        if kinds.isdisjoint(allowed):
            msg = (
                f"The tool `{shown_name(min(kinds, key=len))}` is not allowed for"
                f" {owner_of(rules.subject)}. Leave it out, or set `tool_choice` to `none`."
            )
            raise _named(ToolNotAllowed(msg, param=param), rules, "tools")


def _named(error: ProxyError, rules: Rules, name: str) -> ProxyError:
    error.headers = (*error.headers, limit_header(rules.subject, name))
    return error

"""Who may read `/metrics`: who has the token or, where none is set, who asks from nearby.

Addresses are those that `FORWARDED_ALLOW_IPS` leads to. A request that came through a reverse proxy
which is not trusted has the address of that proxy, and with `FORWARDED_ALLOW_IPS=*` a client can
claim any address. So every address in `X-Forwarded-For` has to be private as well.
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidApiKey, NotAllowed

if TYPE_CHECKING:
    from starlette.requests import Request

_PRIVATE: Final = tuple(
    ip_network(network)
    for network in (
        # Loopback; private (RFC 1918, RFC 4193); link-local.
        *("127.0.0.0/8", "::1/128"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        *("169.254.0.0/16", "fe80::/10"),
    )
)


class MetricsAccess:
    """The rule of one server."""

    def __init__(self, token: str | None) -> None:
        """Require a bearer token; None: a loopback or private address."""
        self._token = None if token is None else token.encode()

    def check(self, request: Request) -> None:
        """Refuse a request that may not read the metrics.

        Raises:
            InvalidApiKey: it does not carry the token.
            NotAllowed: no token is set, and it comes from a public address.

        """
        if self._token is None:
            _require_private(request)
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _is_equal(token.strip(), self._token):
            msg = "Send the token of TOKENBALANCE_METRICS_TOKEN as `Authorization: Bearer TOKEN`."
            raise InvalidApiKey(msg)


def _is_equal(token: str, wanted: bytes) -> bool:
    return hmac.compare_digest(token.encode(), wanted)


def _require_private(request: Request) -> None:
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    claimed = [part.strip() for part in forwarded.split(",")] if forwarded else []
    peer = request.client.host if request.client else ""
    if not all(map(_is_private, (peer, *claimed))):
        msg = (
            "Metrics are available from loopback and private addresses only. To read them from"
            " elsewhere, the operator must set TOKENBALANCE_METRICS_TOKEN."
        )
        raise NotAllowed(msg)


def _is_private(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE)

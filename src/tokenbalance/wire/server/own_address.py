"""Whether a host name leads to a server on this machine. Looks names up."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress


def is_own_address(name: str, listening_host: str) -> bool:
    """Tell whether connections to `name` arrive where a server on `listening_host` listens.

    A name that cannot be resolved is not ours; connecting to it will fail with a clear error.
    """
    theirs, ours = _addresses_of(name), _addresses_of(listening_host.strip("[]"))
    if any(ipaddress.ip_address(each).is_unspecified for each in ours):
        return any(_is_of_this_machine(each) for each in theirs)
    # Connections to the unspecified address (0.0.0.0, ::) arrive at this machine.
    loops = any(ipaddress.ip_address(each).is_unspecified for each in theirs)
    return bool(theirs & ours) or (loops and any(map(_is_of_this_machine, ours)))


def _addresses_of(name: str) -> set[str]:
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return {str(address[0]).partition("%")[0] for *_, address in found}
    return set()


def _is_of_this_machine(address: str) -> bool:
    """Whether it can be bound to, which is possible only on its own machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return True
    return False

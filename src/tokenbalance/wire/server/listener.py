"""The listening socket and the URL it is reached at.

The socket listens before the application is loaded: a taken port is known at once, and a client
that connects early waits for its response instead of being refused.
"""

from __future__ import annotations

import os
import socket
from typing import Final

BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket.

    Args:
        host: a name or an address, IPv6 with or without brackets.
        port: 0 takes any free one.

    Raises:
        OSError: the port is taken, or the host is not this machine.
        OverflowError: the port is out of range.

    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # On Windows this option would share the port with other processes.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(host: str, port: int) -> str:
    """The URL of a server on this host and port, without a path."""
    name = host.strip("[]")
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

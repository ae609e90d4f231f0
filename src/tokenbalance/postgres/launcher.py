"""The step between our process and Postgres: change the user, be bound to us, become the server.

Run as a script by `cluster.py`, never imported by it: these steps belong between fork and exec,
where a process with threads must not run Python. Standard library only: the package is not on the
path, and this may start as root.

    launcher.py OWNER_PID UID GID PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Immediate shutdown: the postmaster ends its children within five seconds, and the next start
# recovers. A fast shutdown (SIGINT) would first write a checkpoint, however long that takes.
DEATH_SIGNAL = signal.SIGQUIT

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program, as this user, for as long as the owner lives."""
    owner, uid, gid = (int(argument) for argument in arguments[:3])
    command = arguments[3:]
    # Python ignores SIGPIPE; the `&` of a shell may have left the others ignored.
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        _ = signal.signal(number, signal.SIG_DFL)
    if uid != os.geteuid():
        _become(uid, gid)
    # After the change of user, which would reset it.
    if sys.platform == "linux":
        _die_with_parent()
    else:
        _watch_owner()
    # The owner may have died before this.
    if os.getppid() != owner:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


def _become(uid: int, gid: int) -> None:
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        sys.exit(f"Postgres must not run as root, and root cannot become uid {uid}: {error}")


def _die_with_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(DEATH_SIGNAL), 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


def _watch_owner() -> None:
    """Leave a small process behind that does what this kernel does not do.

    The owner holds the other end of standard input and never writes to it, so it ends with the
    owner.
    """
    server = os.getpid()
    if os.fork() != 0:
        return
    _ = os.read(sys.stdin.fileno(), 1)
    if os.getppid() == server:
        os.kill(server, DEATH_SIGNAL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What requests may occupy in this process: how many of one account, and bytes not yet paid for.

    in progress    the requests of one account, from the check of their key to their end
    unpaid bytes   of bodies whose request has no hold yet, of one account and of all accounts
    stored bytes   of forms on the disk, until their request ends, of one account and of all

The first UNCOUNTED_BYTES of a body do not count, since its connection keeps as much before anybody
reads it: so short requests are served even while the process has no room for long ones. All of it
is per process. It must never wait: what does not fit is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from tokenbalance.errors import ServiceUnavailable, TooManyRequests
from tokenbalance.wire.client.request import BODY_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tokenbalance.wire.client.spool import Spool

MEBIBYTE: Final = 1024 * 1024
PARALLEL_MAX: Final = 1000
"""The default of the most requests of an account that are in progress."""
UNCOUNTED_BYTES: Final = 64 * 1024
ACCOUNT_BYTES_MAX: Final = 64 * MEBIBYTE
"""Unpaid bytes of one account, in addition to one body of the largest size."""
PROCESS_BYTES_MAX: Final = 256 * MEBIBYTE
"""Unpaid bytes of all accounts; as many as one account may have, if that is more."""
UPLOAD_BYTES_MAX: Final = 512 * MEBIBYTE
"""The default limit of a form with files: of one file of OpenAI's."""
ACCOUNT_UPLOADS: Final = 4
"""Stored bytes of one account, in forms of the largest size."""
PROCESS_UPLOADS: Final = 32
"""Stored bytes of all accounts, likewise."""
_RETRY_AFTER_S: Final = 1


@dataclass(slots=True, eq=False)
class _Account:
    id: int
    in_progress: int = 0
    unpaid_bytes: int = 0
    stored_bytes: int = 0


class Room:
    """What the requests of this process occupy, and how much they may."""

    def __init__(
        self,
        parallel_max: int = PARALLEL_MAX,
        body_bytes_max: int = BODY_BYTES_MAX,
        upload_bytes_max: int = UPLOAD_BYTES_MAX,
    ) -> None:
        """Start empty.

        Args:
            parallel_max: the most requests of one account that are in progress at a time.
            body_bytes_max: the largest body; one of this size always fits into an empty process.
            upload_bytes_max: the largest form with files.

        """
        self._parallel_max = parallel_max
        self._account_bytes_max = body_bytes_max + ACCOUNT_BYTES_MAX
        self._process_bytes_max = max(PROCESS_BYTES_MAX, self._account_bytes_max)
        self._accounts: dict[int, _Account] = {}
        self._unpaid_bytes = 0
        self._account_stored_max = ACCOUNT_UPLOADS * upload_bytes_max
        self._process_stored_max = PROCESS_UPLOADS * upload_bytes_max
        self._stored_bytes = 0

    @property
    def stored_bytes(self) -> int:
        """The bytes of forms that are on the disk, or are about to be."""
        return self._stored_bytes

    @property
    def unpaid_bytes(self) -> int:
        """The bytes kept for requests that have no hold yet."""
        return self._unpaid_bytes

    def __len__(self) -> int:
        """Return how many accounts have a request in progress."""
        return len(self._accounts)

    def enter(self, account_id: int) -> Place:
        """Count a request as in progress until the returned context manager exits.

        Raises:
            TooManyRequests: the account has as many as it may have.

        """
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = _Account(account_id)
        elif account.in_progress >= self._parallel_max:
            msg = f"This account already has {account.in_progress} requests in progress"
            raise TooManyRequests(msg, _RETRY_AFTER_S)
        account.in_progress += 1
        return Place(self, account)

    def take(self, account: _Account, more: int) -> None:
        """Count more unpaid bytes.

        Raises:
            TooManyRequests: the account may not have so many.
            ServiceUnavailable: the process may not.

        """
        if account.unpaid_bytes + more > self._account_bytes_max:
            msg = (
                "The bodies of this account's requests that wait for more data or for balance are"
                f" larger than {self._account_bytes_max} bytes together"
            )
            raise TooManyRequests(msg, _RETRY_AFTER_S)
        if self._unpaid_bytes + more > self._process_bytes_max:
            raise ServiceUnavailable("The server has no room for another large request body")
        account.unpaid_bytes += more
        self._unpaid_bytes += more

    def give_back(self, account: _Account, unpaid_bytes: int) -> None:
        """Count unpaid bytes as paid for, or gone."""
        account.unpaid_bytes -= unpaid_bytes
        self._unpaid_bytes -= unpaid_bytes

    def store(self, account: _Account, more: int) -> None:
        """Count more bytes on the disk; fewer, if negative.

        Raises:
            TooManyRequests: the account may not have so many.
            ServiceUnavailable: the process may not.

        """
        if more > 0 and account.stored_bytes + more > self._account_stored_max:
            msg = (
                "The uploads of this account that are in progress are larger than"
                f" {self._account_stored_max} bytes together"
            )
            raise TooManyRequests(msg, _RETRY_AFTER_S)
        if more > 0 and self._stored_bytes + more > self._process_stored_max:
            raise ServiceUnavailable("The server has no room for another large upload")
        account.stored_bytes += more
        self._stored_bytes += more

    def leave(self, account: _Account) -> None:
        """Count a request as ended."""
        account.in_progress -= 1
        if not account.in_progress:
            del self._accounts[account.id]


class Place:
    """What one request occupies, until it exits."""

    __slots__ = ("_account", "_room", "_spool", "_stored_bytes", "_unpaid_bytes", "at_exit")

    def __init__(self, room: Room, account: _Account) -> None:
        self._room: Room = room
        self._account: _Account = account
        self._unpaid_bytes: int = 0
        self._stored_bytes: int = 0
        self._spool: Spool | None = None
        self.at_exit: Callable[[], None] | None = None
        """Called when the request ends."""

    def keep(self, size: int) -> None:
        """Occupy room for a body of which `size` bytes are in memory now.

        Raises:
            TooManyRequests, ServiceUnavailable: there is no room for it; nothing was added.

        """
        more = size - UNCOUNTED_BYTES - self._unpaid_bytes
        if more > 0:
            self._room.take(self._account, more)
            self._unpaid_bytes += more

    def release(self, size: int) -> None:
        """Occupy room for no more than `size` bytes in memory: the others are on the disk now."""
        fewer = self._unpaid_bytes - max(size - UNCOUNTED_BYTES, 0)
        if fewer > 0:
            self._room.give_back(self._account, fewer)
            self._unpaid_bytes -= fewer

    def store(self, size: int) -> None:
        """Occupy room on the disk for a form that is `size` bytes long, as far as is known.

        Raises:
            TooManyRequests, ServiceUnavailable: there is no room for it; nothing was added.

        """
        more = size - self._stored_bytes
        if more > 0:
            self._room.store(self._account, more)
            self._stored_bytes = size

    def own(self, spool: Spool) -> Spool:
        """Close a spool when the request ends."""
        self._spool = spool
        return spool

    def pay(self) -> None:
        """Stop counting the body: the request has its hold, or has ended."""
        if self._unpaid_bytes:
            self._room.give_back(self._account, self._unpaid_bytes)
            self._unpaid_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.pay()
        if self.at_exit is not None:
            self.at_exit()
        if self._spool is not None:
            self._spool.close()
        if self._stored_bytes:
            self._room.store(self._account, -self._stored_bytes)
        self._room.leave(self._account)

"""Keys that were found valid within the last minute, so that a hold's statement can check them.

    kept       by every look-up; what is known of the account is renewed by every charge
    found      for REMEMBERED_S at most, where the account had a credit left
    dropped    when a look-up no longer finds the key, or KEYS_MAX others were looked up since

What is remembered may say what to try first. It must never be a reason to refuse or to cap, nor the
only reason to send: every hold's statement checks the key, its scope and its user by itself. It
holds no secret, only the SHA-256 by which the database knows it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenbalance.model import Caller, Charge

REMEMBERED_S: Final = 60.0
KEYS_MAX: Final = 8192
"""About 8 MB."""


@dataclass(slots=True, eq=False)
class Bearer:
    """Who shows the key of a request, and how that is known."""

    caller: Caller
    available: int
    """Credits that the account had for holds when that was last seen: a hint."""
    is_remembered: bool = False
    """Not looked up for this request: nothing may be refused because of it."""

    @classmethod
    def looked_up(cls, caller: Caller) -> Bearer:
        """Whoever was looked up for this request."""
        return cls(caller, caller.available)


@dataclass(slots=True, eq=False)
class _Account:
    available: int
    overdraft: int
    keys: int = 0
    """How many of its keys are remembered; it is forgotten with the last of them."""


@dataclass(slots=True, eq=False)
class _Key:
    caller: Caller
    account: _Account
    until: float


class RememberedKeys:
    """The keys that this process has looked up, the latest last."""

    def __init__(self) -> None:
        self._keys: dict[bytes, _Key] = {}
        self._accounts: dict[int, _Account] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret_sha256: bytes) -> Bearer | None:
        """Find who showed a secret before; None if it has to be looked up."""
        key = self._keys.get(secret_sha256)
        if key is None or key.account.available < 1 or time.monotonic() >= key.until:
            return None
        return Bearer(key.caller, key.account.available, is_remembered=True)

    def keep(self, caller: Caller) -> None:
        """Remember a caller who was just looked up, in place of whoever was so longest ago."""
        self.drop(caller.secret_sha256)
        overdraft = caller.limit - caller.balance
        account = self._accounts.get(caller.account_id)
        if account is None:
            account = self._accounts[caller.account_id] = _Account(caller.available, overdraft)
        else:
            account.available, account.overdraft = caller.available, overdraft
        account.keys += 1
        until = time.monotonic() + REMEMBERED_S
        self._keys[caller.secret_sha256] = _Key(caller, account, until)
        if len(self._keys) > KEYS_MAX:
            self.drop(next(iter(self._keys)))

    def drop(self, secret_sha256: bytes) -> None:
        """Forget a key, if it is remembered."""
        key = self._keys.pop(secret_sha256, None)
        if key is None:
            return
        key.account.keys -= 1
        if key.account.keys == 0:
            del self._accounts[key.caller.account_id]

    def note(self, account_id: int, charge: Charge) -> None:
        """Note what a charge has left of an account."""
        account = self._accounts.get(account_id)
        if account is not None:
            account.available = charge.balance + account.overdraft - charge.held

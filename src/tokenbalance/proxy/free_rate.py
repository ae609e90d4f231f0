"""How often an account may ask for what costs nothing, such as moderations and lists of models.

Nothing else limits these: no hold is placed for them. In this process only, by a clock for each
account: it moves on with every request, and may be ahead of the real one by a minute. So an account
may ask for a minute's worth at once, and then at the rate. It must never wait.
"""

from __future__ import annotations

import math
import time
from typing import Final

from tokenbalance.errors import TooManyRequests

PER_MINUTE: Final = 600
"""The default: as many moderations as OpenAI allows its smaller accounts, so ten in a second on end
and a page that checks hundreds of texts at once; a flood is cut to a percent of one core."""
_MINUTE_S: Final = 60.0


class FreeRate:
    """What the accounts of this process have asked for lately."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        """Start with no request; `per_minute` is the most of one account, 0 for any number."""
        self._per_minute = per_minute
        self._clocks: dict[int, float] = {}
        """When each account has asked for nothing lately, on the monotonic clock."""
        self._forget_at_s = 0.0

    def __len__(self) -> int:
        """Return of how many accounts something is remembered."""
        return len(self._clocks)

    def take(self, account_id: int) -> None:
        """Count a request.

        Raises:
            TooManyRequests: the account has made too many; this one does not count.

        """
        if not self._per_minute:
            return
        now_s = time.monotonic()
        if now_s >= self._forget_at_s:
            self._clocks = {each: at for each, at in self._clocks.items() if at > now_s}
            self._forget_at_s = now_s + _MINUTE_S
        next_s = max(self._clocks.get(account_id, now_s), now_s) + _MINUTE_S / self._per_minute
        ahead_s = next_s - now_s - _MINUTE_S
        # Sums of fractions are not exact.
        if ahead_s > 1e-6:  # noqa: PLR2004 - far less than the time of one request
            msg = f"This account may make {self._per_minute} requests a minute that cost nothing"
            raise TooManyRequests(msg, math.ceil(ahead_s))
        self._clocks[account_id] = next_s

"""Storms of requests beyond a rate: refused in this process, without asking the database.

What it remembers was read: until when a rate of requests refuses. Such a time never comes earlier
by itself, since a request that was counted stays counted. A change by the owner of the key can
still lift it, and a key can end; so after REMEMBERED_S the database is asked once more.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.proxy.limits.headers import rate_headers, rooms_of
from tokenbalance.proxy.limits.refusals import again_in

if TYPE_CHECKING:
    from tokenbalance.model import Caller, LimitState
    from tokenbalance.people.remembered import Bearer

REMEMBERED_S: Final = 1.0
SUBJECTS_MAX: Final = 8192


class _Storm(NamedTuple):
    version: int
    """Of the policy that it is for."""
    limit: LimitState
    states: tuple[LimitState, ...]
    fits_s: float
    """When the next request fits, on the monotonic clock."""
    forget_s: float


class Storms:
    """Rates of requests that this process knows to be used up."""

    def __init__(self) -> None:
        """Start without any."""
        self._storms: dict[tuple[int, str], _Storm] = {}

    def __len__(self) -> int:
        return len(self._storms)

    def note(
        self,
        caller: Caller,
        limit: LimitState,
        states: tuple[LimitState, ...],
        retry_after_ms: int,
    ) -> None:
        """Remember that a rate refuses a caller's requests for so long, as was just read."""
        if caller.policy is None:
            return
        now_s = time.monotonic()
        fits_s = now_s + retry_after_ms / 1000
        key = caller.account_id, limit.subject
        _ = self._storms.pop(key, None)
        forget_s = min(fits_s, now_s + REMEMBERED_S)
        self._storms[key] = _Storm(caller.policy.version, limit, states, fits_s, forget_s)
        if len(self._storms) > SUBJECTS_MAX:
            del self._storms[next(iter(self._storms))]

    def check(self, bearer: Bearer, end_user: str | None = None) -> None:
        """Refuse a request that is certain to be refused; its key is not looked up for that.

        Args:
            bearer: whose it is.
            end_user: the subject of the end user whom it names, as far as that is known.

        Raises:
            LimitReached: its rate of requests has no room yet.

        """
        caller = bearer.caller
        policy = caller.policy
        if policy is None or not self._storms:
            return
        subjects = policy.subjects if end_user is None else (*policy.subjects, end_user)
        for subject in subjects:
            key = caller.account_id, subject
            storm = self._storms.get(key)
            if storm is None:
                continue
            now_s = time.monotonic()
            if storm.version != policy.version or now_s >= storm.forget_s:
                del self._storms[key]
                continue
            bearer.is_remembered = False
            error = again_in(storm.limit, max(math.ceil((storm.fits_s - now_s) * 1000), 1))
            error.headers = (*error.headers, *rate_headers(rooms_of(storm.states)))
            raise error

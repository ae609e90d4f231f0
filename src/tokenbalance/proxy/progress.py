"""The progress of one request: what is noted on its way, and kept with its hold as a trace.

Times are of this process's clock and begin when the head of the request has arrived. Owns how they
and what the upstream says of a response become a `Trace`. It must never keep text of a request: an
id or a code of the upstream's is kept only if it is short and looks like one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Trace

if TYPE_CHECKING:
    from tokenbalance.wire.upstream import UpstreamResponse

_is_request_id: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,128}").fullmatch
_MILLISECONDS: Final = 1000
_LONGEST_MS: Final = 2**31 - 1
"""The largest number of the column, 24 days."""


@dataclass(slots=True, eq=False)
class Progress:
    """How far one request has come, and when."""

    arrived: float
    """When its head had arrived, by `time.perf_counter`."""
    streams: bool
    """The client asked for a stream."""
    output_cap: int | None = None
    """The output limit that is sent upstream, in tokens of one choice."""
    capped: bool = False
    """The balance made that limit as low as it is."""
    error_code: str = ""
    """Why it failed, as the upstream names it, or as we do where it has not responded."""
    first_byte_s: float | None = None
    """From its arrival to the head of the upstream's response."""
    _status: int | None = None
    _upstream_request_id: str | None = None

    def responded(self, upstream: UpstreamResponse) -> None:
        """Note the head of the upstream's response."""
        self.first_byte_s = time.perf_counter() - self.arrived
        self._status = upstream.status
        for name, value in upstream.headers:
            if name == b"x-request-id":
                if _is_request_id(value) is not None:
                    self._upstream_request_id = value.decode()
                break

    def trace(self) -> Trace:
        """What is kept, with the end of the request now."""
        total_ms = int((time.perf_counter() - self.arrived) * _MILLISECONDS)
        first_byte_s = self.first_byte_s
        return Trace(
            self._status,
            self.error_code or None,
            self._upstream_request_id,
            None if first_byte_s is None else int(first_byte_s * _MILLISECONDS),
            # A stream has no bound of its own.
            min(total_ms, _LONGEST_MS),
            self.streams,
            self.output_cap,
            self.capped,
        )

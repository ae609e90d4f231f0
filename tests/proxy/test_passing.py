"""What was metered in the turn of its arrival reaches the client, even if a stream is cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from tests.support.chat import DONE, content
from tokenbalance.errors import ServiceUnavailable
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.proxy.streams import end_early

if TYPE_CHECKING:
    from tokenbalance.proxy.relay import Relay


@dataclass
class Ends:
    """The end of a hold and a response at once; remembers the last bytes."""

    last: list[bytes] = field(default_factory=list)

    async def settle_stream(self, *, whole: bool) -> None:
        del whole

    async def end(self, body: bytes) -> None:
        self.last.append(body)


async def test_a_stream_that_is_cut_has_what_was_metered_before() -> None:
    meter, ends = StreamMeter(hide_usage=False), Ends()
    metered = meter.feed(content("Hi"))
    relay = SimpleNamespace(
        metered=metered, response=ends, ids=None, settle_stream=ends.settle_stream
    )
    await end_early(cast("Relay", cast("object", relay)), meter, ServiceUnavailable("stop"))
    assert ends.last[0].startswith(content("Hi") + b"data: ")
    assert DONE not in ends.last[0]
    assert relay.metered == b""

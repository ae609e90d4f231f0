"""Streams as the upstream sends them, made by hand, and what the meter makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from tokenbalance.model import Usage
from tokenbalance.openai.metering.stream import StreamMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m","choices":'
USAGE = '{"prompt_tokens":13,"completion_tokens":11,"total_tokens":24}'
COUNTED = Usage({"input": 13, "output": 11}, total=24)
DONE = "data: [DONE]\n\n"


def chunk(text: str, more: str = "") -> str:
    delta = f'{{"index":0,"delta":{{"content":{orjson.dumps(text).decode()}}}}}'
    return f"data: {HEAD}[{delta}]{more}}}\n\n"


def empty(more: str) -> str:
    return f"data: {HEAD}[]{more}}}\n\n"


def event(kind: str, members: str) -> str:
    return f'event: {kind}\ndata: {{"type":"{kind}",{members}}}\n\n'


def final(kind: str = "response.completed", usage: str = USAGE) -> str:
    usage = usage.replace("prompt", "input").replace("completion_t", "output_t")
    repeated = '"output":[{"content":[{"text":"Hello"}]}]'
    return event(kind, f'"response":{{"id":"r",{repeated},"usage":{usage},"user":null}}')


USAGE_CHUNK = empty(f',"usage":{USAGE}')
MODERATION = empty(',"moderation":{"input":{"usage":null}},"usage":null')
FILTER = empty(',"prompt_filter_results":[{"prompt_index":0}]')
FINISH = f'data: {HEAD}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}\n\n'
BLANK = f'data: {HEAD}[{{"index":0,"delta":{{}}}}],"usage":{USAGE}}}\n\n'
NULLS = '"finish_reason":null,"logprobs":null,"index":0,"delta":{"role":null,"content":null}'
BLANK_BY_NULLS = f'data: {HEAD}[{{{NULLS}}}],"usage":{USAGE}}}\n\n'
"""As LiteLLM sends the usage that it was asked for."""
CHAT = chunk("Hel") + chunk("lo") + USAGE_CHUNK + DONE
CREATED = event("response.created", '"response":{"id":"r","error":null,"usage":null}')
DELTAS = "".join(event("response.output_text.delta", f'"delta":"{t}"') for t in ("Hel", "lo"))
RESPONSE = CREATED + DELTAS + event("response.output_text.done", '"text":"Hello"') + final()


def meter_of(pieces: Iterable[bytes], *, hide_usage: bool = False) -> tuple[bytes, StreamMeter]:
    stream = StreamMeter(hide_usage=hide_usage)
    out = b"".join([stream.feed(piece) for piece in pieces])
    return out + stream.finish(), stream


def meter_of_text(text: str, *, hide_usage: bool = False) -> tuple[str, StreamMeter]:
    out, stream = meter_of([text.encode()], hide_usage=hide_usage)
    return out.decode(), stream


def said(stream: StreamMeter) -> tuple[Usage | None, bool, bool, str]:
    return stream.usage, stream.ended, stream.failed, "".join(stream.relayed_texts())

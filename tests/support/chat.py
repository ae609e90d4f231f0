"""A small chat, as a client sends it and as the upstream streams its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from tests.support.books import Holder

Sdk: TypeAlias = Callable[[Holder], Any]
"""Makes an official client; typed loosely, as its overloads cannot see into `**CHAT`."""

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]
"""9 tokens."""
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 50}
STREAM: dict[str, Any] = {**CHAT, "stream": True}


def chunk(**members: Any) -> bytes:
    """One event of a streamed chat."""
    document = {"id": "c", "object": "chat.completion.chunk", **members}
    return b"data: " + orjson.dumps(document) + b"\n\n"


def content(text: str, **members: Any) -> bytes:
    """One event that carries text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return chunk(choices=[choice], **members)


USAGE = chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12})
"""The event that reports 12 tokens in all."""
DONE = b"data: [DONE]\n\n"

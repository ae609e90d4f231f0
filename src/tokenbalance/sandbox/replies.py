"""What an endpoint returns to `app.py`, and the small parts that several endpoints share.

A reply is complete before its first byte is sent, so that endpoints are plain functions from a
request to bytes.
"""

from __future__ import annotations

import secrets
import string
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import orjson

if TYPE_CHECKING:
    from tokenbalance.model import Document

DONE = b"data: [DONE]\n\n"

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Whole:
    """A response in one JSON document."""

    document: Document


@dataclass(frozen=True, slots=True)
class Stream:
    """A response as server-sent events, each ready to be sent."""

    events: tuple[bytes, ...]
    document: Document | None = None
    """What the same request would have returned without `stream`, where it may be stored."""


@dataclass(frozen=True, slots=True)
class Content:
    """A response that is not JSON: a file, a sound, a text. Ranges of it can be asked for."""

    data: bytes
    media_type: str = "application/octet-stream"
    filename: str | None = None


Reply: TypeAlias = Whole | Stream | Content


def event(document: Document, name: str | None = None) -> bytes:
    """Write one server-sent event; only those of Responses have names."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(document) + b"\n\n"


def new_id(prefix: str) -> str:
    """Make an id like OpenAI's: `chatcmpl-...`, `resp_...`."""
    return prefix + secrets.token_hex(16)


def deleted(name: str, kind: str) -> Whole:
    """Say that an object is deleted."""
    return Whole({"id": name, "object": kind, "deleted": True})


def new_file_id() -> str:
    """Make the id of a file, whose form is its own."""
    return "file-" + "".join(secrets.choice(_LETTERS) for _ in range(22))


def now() -> int:
    """Seconds since the epoch."""
    return int(time.time())


def completion_usage(prompt_tokens: int, completion_tokens: int) -> Document:
    """Return usage as chats and completions report it."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }

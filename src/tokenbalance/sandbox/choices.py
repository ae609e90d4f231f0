"""What chats and completions share: several choices of one request, streamed in turn."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from tokenbalance.sandbox.faults import ApiError
from tokenbalance.sandbox.replies import DONE, event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tokenbalance.model import Document
    from tokenbalance.sandbox.fields import Fields

OUTPUT_LIMIT_TOKENS = 272_000
"""The largest limit that any model accepts."""
CHOICES_LIMIT = 128


def stream_options(fields: Fields) -> tuple[bool, bool]:
    """Whether the response is streamed, and whether it ends with its usage."""
    streamed = fields.flag("stream")
    if fields.value("stream_options") is not None and not streamed:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(message, param="stream_options")
    return streamed, fields.within("stream_options").flag("include_usage")


def choice_events(
    frame: Document, choices: Iterable[Iterator[Document]], usage: Document | None
) -> Iterator[bytes]:
    """Yield the chunks of all choices in turn, then the usage, if requested, and the end.

    Each event is the frame with one chunk. If usage is requested, each of them except the last has
    `usage: null`.
    """
    null_usage: Document = {} if usage is None else {"usage": None}
    for chunks in zip_longest(*choices):
        for chunk in filter(None, chunks):
            yield event({**frame, "choices": [chunk], **null_usage})
    if usage is not None:
        yield event({**frame, "choices": [], "usage": usage})
    yield DONE

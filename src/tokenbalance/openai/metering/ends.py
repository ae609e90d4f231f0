"""Watches a body whose usage, if it has any, is a member at its end: images, audio, plain text.

Images are megabytes of base64, and speech is no JSON at all, so that only the beginning and the end
of a body are kept, and only the end is parsed. It must never do I/O, nor raise for anything the
upstream sends.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.metering.document import TAIL
from tokenbalance.openai.metering.outcome import error_code, has_failed
from tokenbalance.openai.metering.sse import BOM, document_of
from tokenbalance.openai.metering.usage import read_media_usage, seconds_used, trailing_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Usage
    from tokenbalance.openai.operation import Family

_NO_FEES: Final[Mapping[str, int]] = MappingProxyType({})
_SVG_KEY: Final = b'"svg_usage"'
_IMAGE_KEYS: Final = (b'"b64_json"', b'"url"')


class EndMeter:
    """Watches one body that is passed on or kept by its caller."""

    __slots__ = (
        "_family",
        "_images",
        "_size",
        "_tail",
        "error_code",
        "failed",
        "has_output",
        "has_response",
        "usage",
    )

    def __init__(self, family: Family) -> None:
        self.usage: Usage | None = None
        """What the body reports; None before `finish`, or if it reports nothing valid."""
        self.failed = False
        """It is an error."""
        self.error_code = ""
        """The code of that error; empty if it has none."""
        self.has_output = False
        """It is what was asked for, or a part of it."""
        self.has_response = False
        """The same."""
        self._family = family
        self._size = 0
        self._tail = bytearray()
        self._images = 0

    @property
    def fees(self) -> Mapping[str, int]:
        """None: the ceiling of the operation knows them."""
        return _NO_FEES

    @property
    def is_partial(self) -> bool:
        """Never: what is billed is at the end."""
        return False

    @property
    def drawn(self) -> int:
        """Images that were drawn and are not in the usage."""
        if not self._family.draws or self.usage is not None or not self.has_output:
            return 0
        # The head comes when an image is finished.
        return max(self._images, 1)

    def feed(self, data: bytes) -> None:
        """Watch the next bytes of the body."""
        self._size += len(data)
        if self._family.draws:
            for key in _IMAGE_KEYS:
                cut = len(key) - 1
                seam = self._tail[-cut:] + data[:cut]
                # No key is within one side of the seam, which is too short.
                self._images += data.count(key) + seam.count(key)
        self._tail += data[-TAIL:]
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]

    def finish(self) -> None:
        """Read the usage, if the body has one; it has ended."""
        body = bytes(self._tail)
        document = document_of(body.removeprefix(BOM)) if self._size == len(body) else {}
        self.failed = has_failed(document)
        self.error_code = error_code(document) if self.failed else ""
        # A page of HTML is no response of an API.
        is_page = self._size == len(body) and body.lstrip()[:1] == b"<"
        self.has_response = self.has_output = bool(self._size) and not (self.failed or is_page)
        usage = self._reported(document or _members_at_end(body))
        if usage is not None and (usage.total or self._family.reads is not None):
            self.usage = usage

    def relayed_texts(self) -> Sequence[str]:
        """None: what a body has written is not charged by its text."""
        return ()

    def _reported(self, document: Document) -> Usage | None:
        family = self._family
        if family.reads is not None:
            return family.reads(document)
        usage = read_media_usage(document.get("usage"), family.undivided, document)
        if usage is None and family.listens_to is not None:
            # A translation has it beside the text.
            return seconds_used(document.get("duration"))
        return usage


def _members_at_end(tail: bytes) -> Document:
    """The members from the usage on, or from an earlier second bill, of a body that is longer."""
    members: Document = {}
    for found in (trailing_usage(tail, key=_SVG_KEY), trailing_usage(tail)):
        if found is not None:
            members |= found[1]
    return members

"""Reads usage from one JSON document: bytes in, usage out.

The meter only watches: the document is relayed by its caller. Usage is a member of the outermost
object, near its end, so it is searched from the end, and what is not needed is not parsed. It must
never do I/O, nor raise for anything the upstream sends.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.metering.bills import fees_of, has_fees
from tokenbalance.openai.metering.outcome import error_code, has_failed, may_be_free
from tokenbalance.openai.metering.output_text import RelayedText, output_texts
from tokenbalance.openai.metering.sse import BOM, document_of
from tokenbalance.openai.metering.usage import TIER_KEY, read_usage, trailing_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Usage

DOCUMENT_MAX = 8 * 1024 * 1024
"""Bytes of a document that are kept whole."""
TAIL = 64 * 1024
"""Bytes at the end of a document, or of an event, in which the usage is searched."""
NEAR = 512
"""Bytes at the beginning of a document, and before its usage, in which the tier is searched."""


_IMAGE_CALL: Final = b'"image_generation_call"'
_NO_FEES: Final[Mapping[str, int]] = MappingProxyType({})


class JsonMeter:
    """Watches one JSON document.

    Up to DOCUMENT_MAX bytes are kept; of a longer document only the end, which has the usage. A
    response of items has its bills before it, and between them what it repeats of the request, such
    as tools: so much more of its end is kept, and `is_partial` says if even that was not enough.
    """

    __slots__ = (
        "_body",
        "_calls",
        "_has_items",
        "_pictures",
        "_text",
        "error_code",
        "failed",
        "fees",
        "has_output",
        "has_response",
        "is_partial",
        "usage",
    )

    def __init__(self, *, has_items: bool = False) -> None:
        """Begin.

        Args:
            has_items: it may have items that are billed beside its usage, so all of it is read.

        """
        self.usage: Usage | None = None
        """What the document reports; None before `finish`, or if it reports nothing valid."""
        self.failed = False
        """Without usage: it is an error, or a response that failed or was cancelled."""
        self.error_code = ""
        """The code of that error; empty if it has none."""
        self.has_output = False
        """Without usage: it contains output of the model."""
        self.has_response = False
        """Without usage: it is a response, even if an empty one; no HTML page, and not nothing."""
        self.fees: Mapping[str, int] = _NO_FEES
        """Without usage: calls of tools, by the kind of their fee."""
        self.is_partial = False
        """It is too long to find everything that is billed beside its usage."""
        self._has_items = has_items
        self._pictures = 0
        self._calls = False
        self._body = bytearray()
        # What was collected from a body that is too long to be kept whole.
        self._text: RelayedText | None = None

    def feed(self, data: bytes) -> None:
        """Watch the next bytes of the body."""
        self._body += data
        if self._text is None and len(self._body) > DOCUMENT_MAX:
            self._text = RelayedText()
            self._text.collect(bytes(self._body))
        kept = self._kept
        if self._text is not None and len(self._body) > 2 * kept:
            # Twice where it was cut before: what matters is whether there is one.
            self._calls = self._calls or (self._has_items and has_fees(bytes(self._body)))
            del self._body[:-kept]

    def finish(self) -> None:
        """Read the usage or, without any, what else there is; the body has ended."""
        usage = self._reported()
        if usage is not None and usage.total:
            self.usage = usage
            return
        if self._has_items:
            self._pictures = self._body.count(_IMAGE_CALL)
        if self._text is not None:
            self.has_output = self.has_response = True
        else:
            self._read_whole(self._document())

    @property
    def drawn(self) -> int:
        """Images that a tool has made and that are not in the usage."""
        return self._pictures if self.usage is None else 0

    def relayed_texts(self) -> list[str]:
        """Return the output text of each choice, for counting when usage is missing.

        If the body is longer than DOCUMENT_MAX or is no JSON (because it broke off), everything
        that looks like output text.
        """
        document = self._document() if self._text is None else {}
        if not document:
            return self._collected().texts()
        choices = document.get("choices")
        responses = choices if isinstance(choices, list) else [document.get("output")]
        return ["".join(output_texts(response)) for response in responses]

    @property
    def _kept(self) -> int:
        """Bytes of the end of a document that is too long to be kept whole."""
        return DOCUMENT_MAX if self._has_items else TAIL

    def _reported(self) -> Usage | None:
        """Read the usage, and no more of the document than is needed for it."""
        body = self._body
        size = TAIL if self._text is None else self._kept
        tail = bytes(body) if len(body) <= size else bytes(body[-size:])
        found = trailing_usage(tail)
        if found is None:
            return None
        offset, response = found
        if self._has_items or "service_tier" not in response:
            response = self._with_bills(tail, offset, response)
        return read_usage(response.get("usage"), response=response)

    def _with_bills(self, tail: bytes, offset: int, response: Document) -> Document:
        """Return more members of the document, if it may have some that are billed.

        `response` has its members from `offset` in its tail on, and no other.
        """
        is_long = self._text is not None
        if is_long or self._has_items or tail.rfind(TIER_KEY, max(offset - NEAR, 0), offset) >= 0:
            longer = trailing_usage(tail, key=TIER_KEY)
            if longer is not None and "usage" in longer[1]:
                response = longer[1]
            elif is_long and self._has_items:
                self.is_partial = True
        if is_long and self._has_items:
            self.is_partial = self.is_partial or self._calls or has_fees(bytes(self._body))
        elif not is_long and self._has_more(response):
            response = self._document() or response
        return response

    def _has_more(self, response: Document) -> bool:
        """Whether the document may have more that is billed than these members."""
        body = self._body
        if not self._has_items:
            return "service_tier" not in response and body.rfind(TIER_KEY, 0, NEAR) >= 0
        calls = body.count(b'_call"')
        return (
            # Functions are the client's.
            (calls > 0 and calls > body.count(b'"function_call"'))
            or ("service_tier" not in response and body.rfind(TIER_KEY) >= 0)
            or ("tool_usage" not in response and body.rfind(b'"tool_usage"') >= 0)
        )

    def _read_whole(self, document: Document) -> None:
        usage = read_usage(document.get("usage"), response=document)
        if usage is not None and (usage.total or may_be_free(document)):
            self.usage = usage
        elif document:
            self.fees = fees_of(document)
        made = any(document.get(name) for name in ("output", "data"))
        self.failed = has_failed(document)
        self.error_code = error_code(document) if self.failed else ""
        self.has_output = made or any(self.relayed_texts())
        self.has_response = (
            self.has_output
            or bool(document.get("choices"))
            or "output" in document
            or (not document and self._collected().has_response)
        )

    def _collected(self) -> RelayedText:
        """Collect what looks like output text in a body that is not parsed."""
        if self._text is not None:
            return self._text
        text = RelayedText()
        text.collect(bytes(self._body))
        return text

    def _document(self) -> Document:
        return document_of(bytes(self._body).removeprefix(BOM))

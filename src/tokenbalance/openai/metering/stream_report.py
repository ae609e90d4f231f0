"""What the events of a stream say about its cost and its end, and what of them may be sent on.

Owns the meaning of an event. It gets complete events only; the meter cuts them out of the bytes
that arrive, and decides when withheld ones are released. It must never do I/O, nor raise for
anything the upstream sends.

Most events contain only text, and none of the words that an event with a meaning must contain.
Those are passed on unparsed, as many at once as there are (`read_plain`).

If it is hidden, `"usage":null` is cut out of them without a parse where the API writes it: last in
a line of data, or last except for `obfuscation`. There it is a member of the outermost object, for
four reasons. A quote inside a JSON string is escaped, and the end of a string is not followed by a
letter, so the quote after the comma opens a string, `usage` is all of it, and the colon makes it a
key. The string after `"obfuscation":` ends at its first quote, since it has no backslash. The brace
then closes the object with this key. And the line ends the data, so it is the last brace. The rest
is not checked to be JSON, except what is right before the comma; an event that is not JSON may lose
those bytes as well.

Nearly always, every event of a read is one line that ends so, right behind its choices. Then they
are cut without a pattern, and the number of lines proves that there was nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenbalance.openai.json_text import compiled
from tokenbalance.openai.metering.bills import billed_part, call_of_event, fees_of, with_fees
from tokenbalance.openai.metering.outcome import error_code, has_failed, is_error, may_be_free
from tokenbalance.openai.metering.output_text import RelayedText, TextsOfChoices
from tokenbalance.openai.metering.sse import (
    data_lines,
    document_of,
    event_name,
    is_usage_only,
    without_usage,
)
from tokenbalance.openai.metering.usage import (
    TIER_KEY,
    USAGE_KEY,
    read_media_usage,
    read_usage,
    sum_of,
    trailing_usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json, Usage

_FINAL_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})

_ITEM_DONE = "response.output_item.done"
_IMAGE_CALL = "image_generation_call"
_IMAGE_DONE = f"response.{_IMAGE_CALL}.completed"
_COMPLETED = {
    "image_edit.completed": ("image_output",),
    "image_generation.completed": ("image_output",),
}
_DONE = {"speech.audio.done": ("audio_output",), "transcript.text.done": ("audio_input",)}
"""Events with the usage of an image, and with that of audio: what tokens are that they do not
divide."""
_MEDIA = {**_COMPLETED, **_DONE}
_OF_AN_IMAGE = b"image_"
"""In the types of all events of an image; base64 has no such letters."""

_NULL_USAGE = b',"usage":null'
# It begins with the text to be cut, which is faster than to begin with what precedes it.
_LAST_NULL_USAGE = re.compile(
    _NULL_USAGE + rb'(?<=[\]"]' + _NULL_USAGE + rb')(?=\}\n|,"obfuscation":"[^"\\\x00-\x1f]*+"\}\n)'
)
_BEGINNING = b"data: {"
_SHORT_ENDING = b"]}\n\n"
_ENDING = b"]" + _NULL_USAGE + b"}\n\n"
_SHORT_BETWEEN = _SHORT_ENDING + _BEGINNING
_BETWEEN = _ENDING + _BEGINNING
_LINES_OF_DATA = compiled(rb"(?:data: \{[^\n]*+\n\n)*+")


class StreamReport:
    """What a stream has reported so far. Its events are read in order."""

    __slots__ = (
        "_calls",
        "_has_items",
        "_hide_usage",
        "_images",
        "_is_drawing",
        "_pictures",
        "ended",
        "error_code",
        "failed",
        "is_partial",
        "settled",
        "text",
        "usage",
        "withholding",
    )

    def __init__(self, *, hide_usage: bool, several: bool, images: int = 0) -> None:
        self.usage: Usage | None = None
        """The greatest valid usage report."""
        self.ended = False
        """The terminal event was read."""
        self.failed = False
        """An error was read, or that the response failed."""
        self.error_code = ""
        """The code of that error; empty if it has none."""
        self.is_partial = False
        """The final event is too long to find everything that is billed beside its usage."""
        self.settled = False
        """The charge is committed: nothing has to be withheld any longer."""
        self.withholding = False
        """Bytes are kept back, from the event on that was read last."""
        self.text = TextsOfChoices() if several else RelayedText()
        self._calls: dict[str, Document] = {}
        """What decides the fees of calls that have ended, by the id of their items."""
        self._has_items = False
        self._hide_usage = hide_usage
        # Images that are yet to come, of a stream of images; whether one of them is begun.
        self._images = images
        self._is_drawing = False
        # Images that a tool has made, by the ids of their items.
        self._pictures: set[str] = set()

    @property
    def fees(self) -> Mapping[str, int]:
        """Without usage: calls of tools that have ended, by the kind of their fee."""
        return self._fees_so_far() if self.usage is None else {}

    @property
    def has_output(self) -> bool:
        """There was text, or the final response has items."""
        return self._has_items or bool(self.text.texts())

    @property
    def drawn(self) -> int:
        """Images that were drawn, as far as can be seen, and are not in the usage."""
        return (
            int(self._is_drawing)
            if self.usage is not None
            else max(len(self._pictures), int(self._is_drawing))
        )

    def begin_long(self, beginning: bytes) -> None:
        """Take the beginning of an event that is too long to be kept."""
        self._is_drawing = self._is_drawing or self._images > 0
        self.text.collect(beginning)

    def read_plain(self, events: bytes) -> bytes | None:
        """Return what may be sent on of events with text only; None if one may have a meaning."""
        if self._images and events.rfind(_OF_AN_IMAGE) >= 0:
            self._is_drawing = True
        if self.withholding:
            return None
        plain = _without_null_usage(events) if self._hide_usage else events
        if _may_matter(plain, nulls=self._hide_usage):
            return None
        self.text.collect(plain)
        return plain

    def read(self, event: bytes) -> bytes:
        """Note what an event reports; return what of it may be sent on."""
        plain = self.read_plain(event)
        if plain is not None:
            return plain
        self.text.collect(event)
        lines = data_lines(event)
        data = b"\n".join([event[start:end] for start, end in lines])
        if data.strip() == b"[DONE]":
            self._end(failed=False)
            return event
        document = document_of(data)
        self._note(document, event_name(event))
        if self._hide_usage and "usage" in document:
            return without_usage(event, data, lines, document)
        return event

    def read_end(self, tail: bytes, final_type: str) -> None:
        """Note what the end of an event reports that was too long to be kept.

        `final_type` is its type if that ends the stream, else empty.
        """
        if final_type in _COMPLETED or final_type in _DONE:
            found = trailing_usage(tail)
            self._note_media({} if found is None else found[1], final_type)
            return
        has_bills = False
        for opening in (b"{", b'{"response":{'):
            # What is billed beside the usage comes shortly before it. Of equal reports the last
            # one counts, which is the one with more members.
            for key in (USAGE_KEY, TIER_KEY):
                found = trailing_usage(tail, opening, key)
                if found is not None:
                    self._note(found[1], "")
                    has_bills = has_bills or key == TIER_KEY
        if final_type:
            self.is_partial = not has_bills
            self._add_calls()
            self._end(failed=final_type == "response.failed")

    def _add_calls(self) -> None:
        """Add the fees of calls to the usage of a final event whose own items cannot be read."""
        if self.usage is not None:
            reported = self.usage.quantities
            missing = [pair for pair in self._fees_so_far().items() if pair[0] not in reported]
            self.usage = with_fees(self.usage, tuple(missing))

    def _fees_so_far(self) -> dict[str, int]:
        return fees_of({"output": [*self._calls.values()]})

    def _note(self, document: Document, name: str) -> None:
        kind = document.get("type")
        if (kind if isinstance(kind, str) else name) in _MEDIA:
            self._note_media(document, kind if isinstance(kind, str) else name)
            return
        self._note_usage(document)
        failed_before = self.failed
        if is_error(document) or name == "error":
            self._end(failed=True)
        elif document.get("choices") and not is_usage_only(document):
            self.withholding = self.withholding and self.ended
        elif isinstance(document.get("usage"), dict):
            self.withholding = not self.settled
        kind = kind if isinstance(kind, str) else name
        self._note_item(document, kind)
        self._note_response(document.get("response"), kind)
        if self.failed and not failed_before:
            self.error_code = error_code(document)

    def _note_media(self, document: Document, kind: str) -> None:
        """Note the end of an image, or of audio. Each image has a usage of its own."""
        usage = read_media_usage(document.get("usage"), _MEDIA[kind], document)
        self._is_drawing = kind in _COMPLETED and usage is None
        if usage is not None and usage.total:
            self.usage = usage if self.usage is None else sum_of(self.usage, usage)
        self._images -= kind in _COMPLETED
        if self._images <= 0:
            self._end(failed=False)

    def _note_response(self, value: Json, kind: str) -> None:
        response = value if isinstance(value, dict) else {}
        is_final = kind in _FINAL_TYPES
        self._note_usage(response, free=is_final and may_be_free(response))
        if is_final:
            self._note_calls(response)
            self._has_items = bool(response.get("output"))
            self._end(failed=kind == "response.failed" or has_failed(response))

    def _note_calls(self, response: Document) -> None:
        """Note the items of a final response, which has all of them."""
        items = response.get("output")
        self._calls.clear()
        for number, item in enumerate(items if isinstance(items, list) else []):
            self._note_call(str(number), item)

    def _note_call(self, name: str, item: Json) -> None:
        part = billed_part(item) if isinstance(item, dict) else None
        if part is not None:
            self._calls[name] = part
        elif isinstance(item, dict):
            _ = self._calls.pop(name, None)

    def _note_item(self, document: Document, kind: str) -> None:
        """Note a call that has ended, by the event of its end or by its item, which knows more."""
        item = document.get("item")
        if kind == _ITEM_DONE and isinstance(item, dict):
            if item.get("type") == _IMAGE_CALL:
                self._pictures.add(str(item.get("id")))
            self._note_call(self._name(item.get("id")), item)
        elif kind == _IMAGE_DONE:
            self._pictures.add(str(document.get("item_id")))
        elif (call := call_of_event(kind)) is not None:
            _ = self._calls.setdefault(self._name(document.get("item_id")), {"type": call})

    def _name(self, item_id: Json) -> str:
        """Name an item by its id; one without is like no other."""
        return item_id if isinstance(item_id, str) else f"#{len(self._calls)}"

    def _note_usage(self, response: Document, *, free: bool = False) -> None:
        """Note what a response reports; zeros only if it may have been `free`."""
        value = response.get("usage")
        usage = read_usage(value, response=response) if value is not None else None
        if usage is None or not (usage.total or free):
            return
        if self.usage is None or usage.total >= self.usage.total:
            self.usage = usage

    def _end(self, *, failed: bool) -> None:
        self.ended = True
        self.failed = self.failed or failed
        self.withholding = not self.settled


def lacks_only_its_end(event: bytes) -> bool:
    """Whether an event that broke off has complete data."""
    data = b"\n".join([event[start:end] for start, end in data_lines(event)])
    return data.strip() == b"[DONE]" or bool(document_of(data))


def _may_matter(data: bytes, *, nulls: bool) -> bool:
    """Whether `data` contains a word that every event with a meaning for the meter contains.

    `nulls` is whether `"usage":null` is such a word.
    """
    find = data.rfind  # a third of the time that `in` takes
    return (
        (find(b'"usage"') >= 0 and (nulls or data.count(b'"usage"') != data.count(b'"usage":null')))
        or find(b"[DONE]") >= 0
        or find(b"error") >= 0
        or find(b'_call"') >= 0
        or (
            find(b"response.") >= 0
            and (find(b".completed") >= 0 or find(b".incomplete") >= 0 or find(b".failed") >= 0)
        )
    )


def _without_null_usage(events: bytes) -> bytes:
    """Cut out each `"usage":null` that is certainly the event's own; leave the others."""
    if events.rfind(_NULL_USAGE) < 0 or events.find(b"\r") >= 0:
        return events
    if events.startswith(_BEGINNING) and events.endswith(_ENDING):
        # From the right: Python 3.13 takes twice as long from the left.
        lines = events.rsplit(_BETWEEN)
        # Then each event is one line, and ends with what is cut out of it.
        if events.count(b"\n") == 2 * len(lines):
            lines[-1] = lines[-1][: -len(_ENDING)] + _SHORT_ENDING
            return _SHORT_BETWEEN.join(lines)
    return events if _LINES_OF_DATA.fullmatch(events) is None else _LAST_NULL_USAGE.sub(b"", events)

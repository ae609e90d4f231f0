"""The ids in a stream of events: each is found before any byte of it is passed on.

Owns what of a stream must wait for its ids, and nothing else: usage and ends are the meter's, which
gets what comes out of here. It must never do I/O, never raise for anything the upstream sends, and
never change a byte.

Theory of operation
-------------------

`feed` takes bytes that are cut anywhere and returns those that may go on, as soon as `take_new` was
written down. Only whole events go on, so that an id is known before its first byte. Two things keep
an event back:

1.  It is not complete. One that is longer than EVENT_KEPT goes on as far as an `IdScanner` has read
    it, but for a string that is not complete.

2.  It is the first to name what the request makes: `response.created`, or the first chunk of a chat
    that is stored. `pending` has that object then, and everything waits until `release` says that
    it is committed. All other ids are only written down: to be lost they would need two failures.

Most events name nothing, which a search for a few words shows: `Places.words`. Each word is
searched once in all whole events of a read, and only the events that have one are taken out of them
and parsed. A chat has one id; once that is known, nothing more is searched unless it may have
spoken output.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.metering.sse import BETWEEN_EVENTS, data_of, document_of, end_of_event
from tokenbalance.openai.objects.found import found_in_event, part_of
from tokenbalance.openai.objects.places import Places
from tokenbalance.openai.objects.scanner import IdScanner

if TYPE_CHECKING:
    from tokenbalance.model.objects import Found
    from tokenbalance.openai.objects.places import Sought

EVENT_KEPT: Final = 1024 * 1024
"""Bytes of an incomplete event that are kept."""
_WHOLE_EVENTS: Final = (b"\n\n", b"\r\n\r\n")
_BLANK: Final = (b":", b"\r", b"\n")
_SEARCHED_AT_ONCE: Final = 16 * 1024
"""Bytes: CPython searches a longer text than 30,000 in a way that is slower for short words."""
_END_BYTES_MAX: Final = 4
"""Bytes of the blank line that ends an event, with the end of the line before."""


class StreamIds:
    """Watches a stream of server-sent events for ids of objects."""

    __slots__ = (
        "_buffer", "_found", "_known", "_looked_at", "_new", "_own", "_places", "_ready",
        "_scanner", "_whole", "_words", "pending",
    )  # fmt: skip

    def __init__(self, sought: Sought, within: str | None = None) -> None:
        """Begin.

        Args:
            sought: what to look for.
            within: the object that the path of the request names.

        """
        self.pending: list[Found] = []
        """What must be committed before anything goes on: then call `release`."""
        self._places = sought.in_events
        self._words = sought.in_events.words
        self._own = sought.in_events.own
        self._whole = within
        self._known: set[tuple[str, str]] = set()
        self._found: dict[tuple[str, str], Found] = {}
        self._new: list[Found] = []
        # What has arrived and not gone on; how much of that was searched for the end of an event,
        # and given to the scanner of a long one; and the event that waits for its commit.
        self._buffer = bytearray()
        self._looked_at = 0
        self._scanner: IdScanner | None = None
        self._ready = b""

    def feed(self, data: bytes) -> bytes:
        """Take the upstream's next bytes; return what may go on now."""
        if not self._buffer and not self.pending:
            if not self._words:
                return data
            if data.endswith(_WHOLE_EVENTS) and not self._may_name(data):
                return data
        self._buffer += data
        return self._go_on()

    def hold(self, found: list[Found], events: bytes) -> None:
        """Take back what `feed` or `release` has returned, to wait for a commit of these, too."""
        self.pending = [*found, *self.pending]
        self._ready = events + self._ready

    def release(self) -> bytes:
        """Return what has waited for the commit of `pending`, and may go on now."""
        released, self._ready, self.pending = self._ready, b"", []
        return released + self._go_on()

    def finish(self) -> bytes:
        """Return all that is left; the stream has ended, and so has its last event."""
        return b"".join(self.abandon())

    def abandon(self) -> tuple[bytes, bytes]:
        """End a stream that broke off.

        Returns:
            The whole events that are left; and the beginning of another one, which must not be
            passed on unless it lacks only its end.

        """
        events = self.release()
        while self.pending:
            events += self.release()
        begun = bytes(self._buffer)
        self._buffer.clear()
        self._read(begun)
        self.pending = []
        return events, begun

    def take_new(self) -> list[Found]:
        """Take what was found since the last call, to be written down before anything goes on."""
        new, self._new = self._new, []
        return new

    def take_found(self) -> list[Found]:
        """Take all that was found, as it was described last, to be committed at the end."""
        found = list(self._found.values())
        self._found.clear()
        self._new.clear()
        return found

    def _may_name(self, events: bytes) -> bool:
        # A loop, which takes a third of the time of `any`.
        for word in self._words:  # noqa: SIM110 - see above
            if events.rfind(word) >= 0:
                return True
        return False

    def _go_on(self) -> bytes:
        out: list[bytes] = []
        while self._buffer and not self.pending:
            if self._scanner is None:
                if self._buffer.startswith(_BLANK):
                    self._pass_between(out)
                if self._pass_whole_events(out):
                    continue
            end = end_of_event(self._buffer, max(self._looked_at - _END_BYTES_MAX, 0))
            if self._scanner is None and end < 0 and len(self._buffer) > EVENT_KEPT:
                self._scanner, self._looked_at = IdScanner(self._places, self._whole), 0
            if self._scanner is not None:
                self._scan(self._scanner, end, out)
            elif end >= 0:
                self._pass(end, out)
            else:
                self._looked_at = len(self._buffer)
            if end < 0:
                break
        return b"".join(out)

    def _pass_whole_events(self, out: list[bytes]) -> bool:
        """Pass on all whole events, up to one that has to wait for a commit; False: there is none.

        Where a line may end with a CR it takes none of them.
        """
        buffer = self._buffer
        looked_at = max(self._looked_at - 1, 0)
        stop = buffer.rfind(b"\n\n", looked_at, looked_at + _SEARCHED_AT_ONCE) + 2
        if stop < len(b"\n\n") or buffer.find(b"\r", 0, stop) >= 0:
            return False
        events = bytes(buffer[:stop])
        del buffer[:stop]
        self._looked_at = 0
        left = self._pass_unnamed(events, out)
        if left:
            buffer[:0] = left
        return True

    def _pass_unnamed(self, events: bytes, out: list[bytes]) -> bytes:
        """Pass on events that name nothing, and read the others; returns what has to wait."""
        end, words = 0, self._words
        following = [events.find(word) for word in words]
        while (named := _first(following)) >= 0:
            before = events.rfind(b"\n\n", end, named)
            begin = before + 2 if before >= 0 else end
            end = events.find(b"\n\n", named) + 2
            self._read(events[begin:end])
            if self.pending:
                out.append(events[:begin])
                self._ready = events[begin:end]
                return events[end:]
            if self._words is not words:
                words = self._words
                following = [events.find(word, end) for word in words]
                continue
            for number, at in enumerate(following):
                if 0 <= at < end:
                    following[number] = events.find(words[number], end)
        out.append(events)
        return b""

    def _pass_between(self, out: list[bytes]) -> None:
        """Pass on what keeps a connection alive."""
        between = BETWEEN_EVENTS.match(self._buffer)
        if between is not None:
            out.append(between.group())
            del self._buffer[: between.end()]
            self._looked_at = 0

    def _pass(self, end: int, out: list[bytes]) -> None:
        """Pass an event on, unless that has to wait for a commit."""
        event = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._looked_at = 0
        if self._may_name(event):
            self._read(event)
        if self.pending:
            self._ready = event
        else:
            out.append(event)

    def _scan(self, scanner: IdScanner, end: int, out: list[bytes]) -> None:
        """Pass a long event on as far as its ids are known."""
        buffer = self._buffer
        stop = len(buffer) if end < 0 else end
        for one in scanner.feed(bytes(buffer[self._looked_at : stop])):
            if self._remember(one):
                self._new.append(one)
        if end < 0:
            stop = max(stop - max(scanner.unfinished, _END_BYTES_MAX), 0)
            self._looked_at = len(buffer) - stop
        else:
            self._scanner, self._looked_at = None, 0
        out.append(bytes(buffer[:stop]))
        del buffer[:stop]

    def _read(self, event: bytes) -> None:
        """Find what one event names; the first to name what the request makes has to wait."""
        if self._scanner is not None:
            found = self._scanner.feed(event[self._looked_at :])
        else:
            document = document_of(data_of(event))
            response = document.get("response")
            if self._whole is None and isinstance(response, dict):
                self._whole = part_of(response, None)
            found = found_in_event(self._places, document, self._whole)
        for one in found:
            if not self._remember(one):
                continue
            waits = one.kind in self._own and not self.pending
            (self.pending if waits else self._new).append(one)

    def _remember(self, one: Found) -> bool:
        """Remember an object; says whether it is new."""
        key = (one.kind, one.id)
        before = self._found.get(key)
        if before is not None and one.parent is None is not before.parent:
            one = replace(one, parent=before.parent)
        self._found[key] = one
        if key in self._known:
            return False
        self._known.add(key)
        if one.kind == "chat_completion":
            # Every chunk names it.
            self._places = Places.of(each for each in self._places.all if not each.is_own)
            self._words = self._places.words
        return True


def _first(places: list[int]) -> int:
    """The smallest place; -1 if there is none."""
    first = -1
    for place in places:
        if place >= 0 and (place < first or first < 0):
            first = place
    return first

"""Reads usage from a stream of server-sent events, and decides what of it may be sent on.

Owns when bytes of a stream are kept back and released; what an event means is in `stream_report`.
It must never do I/O, never raise for anything the upstream sends, and never re-encode a byte.

Theory of operation
-------------------

`feed` takes the upstream's bytes as they arrive, cut anywhere, and returns what may be sent to the
client now. The result is the same wherever the cuts were. Three things keep bytes back:

1.  The end. The client must not see the end of the response before the charge is committed, so
    everything is withheld from the event on that carries the final usage or ends the stream:

    -   a chunk that reports usage and has no choice with any content (chat, completions),
    -   `response.completed`, `.incomplete`, `.failed` (responses),
    -   the last `.completed` of images, and the `.done` of a transcript or of speech,
    -   a top-level error, and
    -   `data: [DONE]`.

    All but the first also set `ended`: nothing that matters follows, so the caller settles and
    calls `take`, which releases what was withheld and lets everything after it pass. The first does
    not end the stream: a moderation chunk may follow it, and `[DONE]` does. If a chunk with
    choices follows, it was not the final usage after all, and the stream flows again (until it is
    withheld at its real end).

    Usage next to a choice with content withholds nothing: some servers report it in every chunk.

2.  Doubt. An event that has not arrived completely might become one of those. It is kept until it
    is complete, or until its beginning shows that it is none of them: `"choices":[{` after plain
    members, or a first `"type"` that ends nothing. OpenAI writes both at the beginning, so an event
    cut in two is released up to the cut. (If such a chunk also carries an error or usage, a part of
    it has been sent by then; its end is still kept.) A comment line (`: keep-alive`) or blank line
    between events belongs to no event and passes as soon as it is complete.

3.  What we asked for (`hide_usage`). If the proxy added `include_usage` and the client had not,
    the usage chunk and the member `"usage":null` of every other chunk are cut out; usage next to a
    choice with content would have come anyway, and stays. Every chunk of the API has that member
    near its end, so events are only released whole here.

Usage only grows while a stream runs. If several events report it, the greatest total counts, and
the last of equal ones: for a server that reports it in every chunk that is the last one, and no
later, smaller figure can lose a charge.

An incomplete event is kept up to EVENT_MAX bytes, or up to DOCUMENT_MAX if it is the final one of
/responses (which repeats the whole output and all instructions). A longer one passes without being
hidden; but its end is searched for usage: the last DOCUMENT_MAX bytes of the final event. Then
the last TAIL bytes are withheld, so that even so the response is complete only after its charge.

Speed: nothing is parsed that a byte search can rule out. All whole events of a read are searched
together; if they contain none of the words that matter they are sent on together, usually as the
same object. Otherwise the event with such a word is found by halving, and only that one is parsed.
The word may also occur in output text, which costs one needless parse.

The output text is collected as raw JSON string bodies, to be counted if no usage is reported. If
several choices were requested (`several`), it is collected for each of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenbalance.openai.json_text import compiled
from tokenbalance.openai.metering.document import DOCUMENT_MAX, TAIL
from tokenbalance.openai.metering.output_text import STRING_BODY
from tokenbalance.openai.metering.sse import BETWEEN_EVENTS, end_of_event
from tokenbalance.openai.metering.stream_report import StreamReport, lacks_only_its_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Usage

EVENT_MAX = 1024 * 1024
"""Bytes of an incomplete event that are kept."""
HEAD = 4 * 1024
"""Bytes of an incomplete event in which its beginning is searched."""

_WHOLE_EVENTS = (b"\n\n", b"\r\n\r\n")


_PLAIN_MEMBER = rb'"[^"\\\x00-\x1f]*": ?(?:"' + STRING_BODY + rb'"|[-+.0-9eE]+|null|true|false), ?'
_FINAL_MEDIA = rb"image_(?:generation|edit)\.completed|transcript\.text\.done|speech\.audio\.done"
_FINAL = rb"response\.(?:completed|incomplete|failed)|" + _FINAL_MEDIA
_NOT_THE_END = compiled(
    rb"(?:\xef\xbb\xbf)?(?:(?!data)[^\r\n]+(?>\r\n|\n|\r))*data: ?\{ ?(?:" + _PLAIN_MEMBER + rb")*?"
    rb'(?:"choices": ?\[ ?\{'
    rb'|"type": ?"(?!(?:' + _FINAL + rb')"|error")[^"\\]*")'
)
_FINAL_TYPE = re.compile(rb'"type": ?"(' + _FINAL + rb')"|event: ?(' + _FINAL_MEDIA + rb")")


class StreamMeter:
    """Watches a stream of server-sent events; what it returns may be sent to the client."""

    __slots__ = (
        "_buffer",
        "_dismissed",
        "_final_type",
        "_hid_after_cr",
        "_hide_usage",
        "_idle",
        "_overlong",
        "_report",
        "_scanned",
        "_sent",
        "_undecided",
        "_withheld",
    )

    def __init__(self, *, hide_usage: bool, several: bool = False, images: int = 0) -> None:
        self._hide_usage = hide_usage
        self._report = StreamReport(hide_usage=hide_usage, several=several, images=images)
        self._withheld = bytearray()

        # The incomplete event: all its bytes (only the last ones if it is overlong), how many of
        # them were sent on, and how many were already searched for its end.
        self._buffer = bytearray()
        self._sent = 0
        self._scanned = 0
        self._undecided = True
        self._dismissed = False
        self._overlong = False
        self._final_type = ""
        # A hidden event ended with a CR: an LF right after it is still part of it.
        self._hid_after_cr = False
        # Whole events can be passed on as they come.
        self._idle = True

    @property
    def usage(self) -> Usage | None:
        """The greatest valid usage seen so far."""
        return self._report.usage

    @property
    def ended(self) -> bool:
        """The terminal event was seen completely: settle and `take`.

        Nothing that matters follows.
        """
        return self._report.ended

    @property
    def failed(self) -> bool:
        """The upstream reported an error inside the stream, or that the response failed."""
        return self._report.failed

    @property
    def error_code(self) -> str:
        """The code of that error; empty if it has none."""
        return self._report.error_code

    @property
    def fees(self) -> Mapping[str, int]:
        """Without usage: calls of tools that have ended, by the kind of their fee."""
        return self._report.fees

    @property
    def is_partial(self) -> bool:
        """The final event is too long to find everything that is billed beside its usage."""
        return self._report.is_partial

    @property
    def has_output(self) -> bool:
        """The stream contains output of the model."""
        return self._report.has_output

    @property
    def has_response(self) -> bool:
        """A response came, even if an empty one: a choice, or an event of a response."""
        return self._report.text.has_response

    @property
    def drawn(self) -> int:
        """Images that were drawn, as far as can be seen, and are not in the usage."""
        return self._report.drawn

    @property
    def withholding(self) -> bool:
        """Bytes are being withheld until the charge is committed."""
        return self._report.withholding

    def feed(self, data: bytes) -> bytes:
        """Take the upstream's next bytes; return what may be sent to the client now."""
        if self._report.settled and not self._hide_usage:
            return data
        whole = self._idle and data.endswith(_WHOLE_EVENTS)
        plain = self._report.read_plain(data) if whole else None
        if plain is not None:
            return plain
        out: list[bytes] = []
        if whole:
            self._narrow_down(data, out)
        else:
            self._read_cut_events(data, out)
        self._idle = not (self._buffer or self._report.withholding or self._hid_after_cr)
        return b"".join(out)

    def take(self) -> bytes:
        """Release everything withheld: the charge is committed.

        Later bytes pass straight through. Hidden usage stays hidden, so that with `hide_usage` an
        incomplete event still waits for its end.
        """
        self._report.settled = True
        released = self.release()
        if not self._hide_usage:
            released += bytes(self._buffer[self._sent :])
            self._buffer.clear()
        return released

    def release(self) -> bytes:
        """Release what is withheld although nothing was charged, and continue to watch."""
        self._report.withholding = False
        released = bytes(self._withheld)
        self._withheld.clear()
        return released

    def finish(self) -> bytes:
        """End the stream; return everything still withheld, to be sent once it is settled.

        An event whose blank line is missing counts as complete.
        """
        out: list[bytes] = []
        if self._buffer:
            self._end_event(len(self._buffer), out)
        out.insert(0, self.take())
        return b"".join(out)

    def abandon(self, unseen: bytes = b"") -> bytes:
        """End a stream that broke off: as `finish`, without its last, incomplete event.

        If a part of that event was already sent, a blank line is added, so that it cannot run into
        what is sent after it.

        Args:
            unseen: what has come of that event and was not fed; it is metered, and sent only where
                it ends the stream.

        """
        self._buffer += unseen
        released = bytes(self._withheld)
        self._withheld.clear()
        begun = self._sent > 0
        if lacks_only_its_end(bytes(self._buffer)):
            self._end_event(len(self._buffer), [])
        else:
            self._report.text.collect(bytes(self._buffer))
            self._buffer.clear()
        if begun:
            return released + b"\n\n"
        return released + self.take() + b"\n\n" if self.ended else released

    def relayed_texts(self) -> list[str]:
        """Return the output text of each choice so far, for counting when usage is missing."""
        return self._report.text.texts()

    def _read_cut_events(self, data: bytes, out: list[bytes]) -> None:
        """Read the end of an event, whole events, and the beginning of one; each may be missing."""
        if not self._idle:
            rest, blank_line, data = data.partition(b"\n\n")
            self._read_one_by_one(rest + blank_line, out)
        whole, blank_line, begun = data.rpartition(b"\n\n")
        if blank_line:
            self._read_events(whole + blank_line, out)
        if begun:
            self._read_one_by_one(begun, out)

    def _read_events(self, events: bytes, out: list[bytes]) -> None:
        """Read whole events that follow no incomplete one."""
        plain = self._report.read_plain(events)
        if plain is not None:
            out.append(plain)
        else:
            self._narrow_down(events, out)

    def _narrow_down(self, events: bytes, out: list[bytes]) -> None:
        """Find the event that matters by halving; halves without one are passed on unchanged."""
        middle = 0 if self._report.withholding else _middle(events)
        if middle:
            self._read_events(events[:middle], out)
            self._read_events(events[middle:], out)
        else:
            self._read_one_by_one(events, out)

    def _read_one_by_one(self, data: bytes, out: list[bytes]) -> None:
        self._buffer += data
        self._read_whole_events(out)
        if self._buffer:
            self._read_incomplete_event(out)

    def _read_whole_events(self, out: list[bytes]) -> None:
        while self._buffer:
            self._pass_between_events(out)
            end = self._find_event_end()
            if end < 0:
                return
            self._end_event(end, out)

    def _pass_between_events(self, out: list[bytes]) -> None:
        if self._hid_after_cr:
            self._hid_after_cr = False
            if self._buffer.startswith(b"\n"):
                del self._buffer[:1]
        if self._overlong or not self._buffer.startswith((b":", b"\r", b"\n")):
            return
        if self._buffer.find(b"\n", self._scanned) < 0 > self._buffer.find(b"\r", self._scanned):
            return
        between = BETWEEN_EVENTS.match(self._buffer)
        if between is not None:
            end = between.end()
            self._emit(bytes(self._buffer[:end]), out)
            del self._buffer[:end]
            self._scanned = 0

    def _find_event_end(self) -> int:
        # The first of the two line ends may be the last byte that was searched before.
        start = max(self._scanned - 1, 0)
        self._scanned = len(self._buffer)
        return end_of_event(self._buffer, start)

    def _end_event(self, end: int, out: list[bytes]) -> None:
        event = bytes(self._buffer[:end])
        sent, overlong = self._sent, self._overlong
        del self._buffer[:end]
        if overlong:
            self._report.read_end(event, self._final_type)
        else:
            kept = self._report.read(event)
            self._hid_after_cr = not kept and not self._buffer and event.endswith(b"\r")
            event = kept
        self._emit(event[sent:], out)
        self._sent = self._scanned = 0
        self._undecided = True
        self._dismissed = self._overlong = False

    def _read_incomplete_event(self, out: list[bytes]) -> None:
        if self._overlong or len(self._buffer) > EVENT_MAX:
            self._read_long_event(out)
        elif not self._hide_usage and self._is_dismissed():
            self._send_up_to(len(self._buffer), out)

    def _is_dismissed(self) -> bool:
        if self._undecided:
            self._dismissed = _NOT_THE_END.match(self._buffer, 0, HEAD) is not None
            self._undecided = not self._dismissed and len(self._buffer) < HEAD
        return self._dismissed

    def _read_long_event(self, out: list[bytes]) -> None:
        if not self._overlong:
            final = _FINAL_TYPE.search(self._buffer, 0, HEAD)
            self._final_type = (final[1] or final[2]).decode() if final is not None else ""
            if final is not None and len(self._buffer) <= DOCUMENT_MAX:
                return
            self._overlong = True
            self._report.begin_long(bytes(self._buffer))
        self._let_overlong_pass(out)

    def _let_overlong_pass(self, out: list[bytes]) -> None:
        kept = TAIL if self._final_type and not self._report.settled else 0
        self._send_up_to(len(self._buffer) - kept, out)
        # Between the bills and the usage a final event repeats what the request has, such as tools.
        surplus = len(self._buffer) - (DOCUMENT_MAX if self._final_type else TAIL)
        if surplus > 0:
            del self._buffer[:surplus]
            self._sent = max(self._sent - surplus, 0)
            self._scanned = len(self._buffer)

    def _send_up_to(self, end: int, out: list[bytes]) -> None:
        if end > self._sent:
            self._emit(bytes(self._buffer[self._sent : end]), out)
            self._sent = end

    def _emit(self, piece: bytes, out: list[bytes]) -> None:
        report = self._report
        if report.withholding:
            self._withheld += piece
            if report.ended or len(self._withheld) <= DOCUMENT_MAX:
                return
            # A server that sends without end after its usage: stop waiting.
            report.withholding, piece = False, b""
        if self._withheld:
            out.append(bytes(self._withheld))
            self._withheld.clear()
        out.append(piece)


def _middle(events: bytes) -> int:
    """Where an event begins near the middle of several; 0 when there is only one."""
    middle = len(events) // 2
    end = events.find(b"\n\n", middle)
    if end < 0 or end + 2 == len(events):
        end = events.rfind(b"\n\n", 0, middle + 1)
    return end + 2 if end >= 0 else 0

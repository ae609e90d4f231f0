"""Finds every delimiter of a form as it streams, and refuses what only looks like one.

    delimiter    CR LF, two hyphens, the boundary, then CR LF; the last one has two hyphens instead

Parsers differ about a line that begins like a delimiter and goes on differently, about one behind a
bare LF or a bare CR, about blanks behind the boundary, and about what stands before the first and
behind the last. A form with any of these is refused. It must never look into parts.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.errors import InvalidForm

_CRLF: Final = b"\r\n"
_LINE_ENDS: Final = _CRLF
_LAST: Final = b"--"


class Delimiters:
    """The delimiters of one form."""

    __slots__ = ("_dashed", "_epilogue", "_is_at_start", "_offset", "_tail", "is_closed", "places")

    def __init__(self, boundary: bytes) -> None:
        self.is_closed: bool = False
        """The last one has come."""
        self.places: list[int] = []
        """Where in the form each one begins, from its hyphens on."""
        self._dashed: bytes = b"--" + boundary
        # As if a line had ended before the form, which its first delimiter needs.
        self._tail: bytes = _CRLF
        self._offset: int = -len(_CRLF)
        """Where in the form the tail begins."""
        self._is_at_start: bool = True
        self._epilogue: bytes = b""

    def feed(self, data: bytes) -> None:
        """Look through the next bytes.

        Raises:
            InvalidForm: there is something that another parser could take for a delimiter.

        """
        if self.is_closed:
            self._close(data)
            return
        if self._is_at_start and data:
            self._is_at_start = False
            if data[:1] != b"-":
                raise InvalidForm("The form does not begin with its boundary.")
        window = self._tail + data
        dashed = self._dashed
        behind = len(dashed) + 2
        # The two bytes before the first place were looked at with the window before.
        at = window.find(dashed, 2)
        while 0 <= at <= len(window) - behind:
            if window[at - 1 : at] in _LINE_ENDS:
                self._find(window, at)
                if self.is_closed:
                    self._close(window[at + behind :])
                    return
            at = window.find(dashed, at + 1)
        kept = behind + 1
        self._offset += max(len(window) - kept, 0)
        self._tail = window[-kept:]

    def _find(self, window: bytes, at: int) -> None:
        end = at + len(self._dashed)
        following = window[end : end + 2]
        if window[at - 2 : at] != _CRLF or following not in {_CRLF, _LAST}:
            msg = "A line inside the form begins with its boundary; use another boundary."
            raise InvalidForm(msg)
        self.places.append(self._offset + at)
        self.is_closed = following == _LAST

    def _close(self, data: bytes) -> None:
        """Accept the end of the last line, and nothing else."""
        self._epilogue += data[: len(_CRLF) + 1]
        if not _CRLF.startswith(self._epilogue):
            raise InvalidForm("The form goes on after its last boundary.")

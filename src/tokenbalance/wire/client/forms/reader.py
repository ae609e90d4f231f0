"""Reads a form as it streams: bytes in; its fields, and where its files lie. No I/O.

Two look at the same bytes: `python-multipart`, which Starlette reads forms with, and `Delimiters`.
A form counts only if both find the same parts. The text of fields is kept, with limits on each and
on all of them; of a file nothing is kept but its place.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, MultipartState

from tokenbalance.errors import InvalidForm, RequestTooLarge
from tokenbalance.wire.client.forms.delimiters import Delimiters
from tokenbalance.wire.client.forms.fields import Fields
from tokenbalance.wire.client.forms.form import Stored
from tokenbalance.wire.client.forms.part_heads import read_head

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

    from tokenbalance.model import Document
    from tokenbalance.wire.client.forms.part_heads import PartHead

PARTS_MAX: Final = 1000
TEXT_BYTES_MAX: Final = 1024 * 1024
"""Of one field."""
TEXTS_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of all fields of one form."""
HEADERS_MAX: Final = 8
"""Of one part."""
HEADER_BYTES_MAX: Final = 4096

# It warns of every malformed form, which is for the client to know and not for the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class FormReader:
    """Reads one form."""

    def __init__(self, boundary: bytes) -> None:
        self.text_bytes: int = 0
        """Of the fields that are kept."""
        self._delimiters: Delimiters = Delimiters(boundary)
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_head,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
        }
        self._parser: MultipartParser = MultipartParser(
            boundary, callbacks, max_header_count=HEADERS_MAX, max_header_size=HEADER_BYTES_MAX
        )
        self._fields: Fields = Fields()
        self._sizes: list[int] = []
        """Of the parts that have ended, in bytes."""
        self._files: list[tuple[str, int]] = []
        """The name of each file, and which part it is."""
        self._header_name: bytearray = bytearray()
        self._header_value: bytearray = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._head: PartHead | None = None
        self._size: int = 0
        self._text: bytearray = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            InvalidForm: it is malformed, or can be read in two ways.
            RequestTooLarge: it has too many parts, or too much text.

        """
        self._delimiters.feed(data)
        try:
            _ = self._parser.write(data)
        except MultipartParseError:
            name = self._head.name if self._head is not None else None
            behind = f" behind the field '{name}'" if name else ""
            raise InvalidForm(f"The form is malformed{behind}.", param=name) from None

    def finish(self) -> tuple[Document, dict[str, tuple[Stored, ...]]]:
        """Return the fields, and where the files of each name lie, after the last byte.

        Raises:
            InvalidForm: the form is not complete.

        """
        delimiters = self._delimiters
        if self._parser.state != MultipartState.END or not delimiters.is_closed:
            raise InvalidForm("The form ends before its last boundary.")
        if len(delimiters.places) != len(self._sizes) + 1:
            raise InvalidForm("The form can be read in two ways.")
        # A part ends with the line that a delimiter follows.
        ends = [place - 2 for _, place in pairwise(delimiters.places)]
        files: dict[str, tuple[Stored, ...]] = {}
        for name, part in self._files:
            size = self._sizes[part]
            files[name] = (*files.get(name, ()), Stored(ends[part] - size, size))
        return self._fields.document, files

    # Called by the parser.

    def _begin_part(self) -> None:
        if len(self._sizes) >= PARTS_MAX:
            raise RequestTooLarge(f"The form has more than {PARTS_MAX} parts.")
        self._headers = {}
        self._head = None
        self._size = 0
        self._text.clear()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = bytes(self._header_name).lower()
        if name in self._headers:
            msg = f"A part of the form has the header `{name.decode()}` twice."
            raise InvalidForm(msg)
        self._headers[name] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_head(self) -> None:
        self._head = read_head(self._headers)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        head = self._head
        if head is None or head.filename is not None:
            return
        self.text_bytes += end - start
        if self._size > TEXT_BYTES_MAX or self.text_bytes > TEXTS_BYTES_MAX:
            msg = f"The text of the form field '{head.name}' is too long."
            raise RequestTooLarge(msg, param=head.name)
        self._text += data[start:end]

    def _end_part(self) -> None:
        head = self._head
        if head is None:
            raise InvalidForm("A part of the form ends before its data.")
        if head.size is not None and head.size != self._size:
            msg = f"Invalid form field '{head.name}': it is not as long as its Content-Length."
            raise InvalidForm(msg, param=head.name)
        if head.filename is None:
            self._fields.add(head.name, self._as_text(head.name))
        else:
            described: Document = {
                "filename": head.filename,
                "content_type": head.content_type,
                "size": self._size,
            }
            self._fields.add(head.name, described)
            self._files.append((head.name.removesuffix("[]"), len(self._sizes)))
        self._sizes.append(self._size)

    def _as_text(self, name: str) -> str:
        try:
            return self._text.decode()
        except UnicodeDecodeError:
            msg = f"Invalid form field '{name}': its text is not UTF-8."
            raise InvalidForm(msg, param=name) from None

"""Fields of a form that are no text: spelled out there, and read as a document would have them.

Only the fields that decide the cost are read; OpenAI reads the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.documents import type_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import Document

_INTEGER: Final = re.compile(r"-?[0-9]{1,9}")
_SWITCHES: Final = {
    "true": True,
    "True": True,
    "1": True,
    "false": False,
    "False": False,
    "0": False,
}
"""As clients write them. Servers accept more, and not all the same."""


def as_document(
    fields: Document, switches: Iterable[str] = (), numbers: Iterable[str] = ()
) -> Document:
    """Return the fields of a form with the values that a document would have.

    Args:
        fields: of the form.
        switches: the names of those that are true or false.
        numbers: the names of those that are integers.

    Raises:
        InvalidType: one of these is something else.

    """
    read = dict(fields)
    for name in switches:
        text = fields.get(name)
        if text is not None:
            if not isinstance(text, str) or text not in _SWITCHES:
                raise type_error(name, "true or false", text)
            read[name] = _SWITCHES[text]
    for name in numbers:
        text = fields.get(name)
        if text is not None:
            if not isinstance(text, str) or _INTEGER.fullmatch(text) is None:
                raise type_error(name, "an integer", text)
            read[name] = int(text)
    return read

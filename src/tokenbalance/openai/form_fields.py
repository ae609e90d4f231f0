"""Fields of a form that decide the cost, as values: a form has only text.

Only one spelling of each value is accepted, so that nobody can read another value than was priced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidType

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Family

_SWITCH: Final = {"true": True, "false": False}
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def typed(family: Family, document: Document) -> Document:
    """Return the fields of a form with the values of those that are no text.

    Raises:
        InvalidType: a field that is true or false, or a number, is neither.
    """
    values: Document = {}
    for name in family.switches:
        if name in document:
            values[name] = _switch(name, document[name])
    for name in family.numbers:
        if name in document:
            values[name] = _number(name, document[name])
    return {**document, **values} if values else document


def _switch(name: str, value: Json) -> bool:
    if not isinstance(value, str) or value not in _SWITCH:
        raise InvalidType(f"Invalid type for '{name}': expected true or false.", param=name)
    return _SWITCH[value]


def _number(name: str, value: Json) -> int:
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        raise InvalidType(f"Invalid type for '{name}': expected an integer.", param=name)
    return int(value)

"""The file of model facts: TOML text in, typed rows out.

Owns the format of `models.toml` and of the operator's own file. Everything wrong with a file is
found when it is read, and reported with its line, model and field. It must never open a file.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from typing import TYPE_CHECKING, Final, NoReturn, cast

from tokenbalance.model import ImageRule, KnownModel, Model
from tokenbalance.openai.tokens.vocabularies import CL100K, O200K

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKENS_MAX: Final = 100_000_000
"""A larger number is a mistake."""
LARGEST: Final = Model(
    context=1_050_000,
    maximum_output=272_000,
    is_reasoning=True,
    image=ImageRule(low=12_000, high=48_169),
    encoding=None,
)
"""What is taken for a fact that a row leaves out: of every limit the largest of any row."""

_FILE_FIELDS: Final = ("as_of", "models")
_NAME_MAX: Final = 255
_FEWEST: Final = {
    "context": 1,
    "maximum_output": 0,
    "image_low": 0,
    "image_high": 0,
    "overhead": 0,
    "responses_overhead": 0,
    "responses_tools_overhead": 0,
}
"""The fields that count tokens, and the smallest value of each."""
_ROW_FIELDS: Final = ("names", "encoding", "reasoning", "retires", *_FEWEST)
_ENCODINGS: Final = (O200K, CL100K)
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_HEADER: Final = re.compile(r"\s*\[\[\s*models\s*\]\]")


class ModelFactsError(ValueError):
    """A file of model facts cannot be used; the message is one line that says where and why."""


class _Wrong(Exception):
    """Something is wrong with a row, or with the file if there is no index."""

    def __init__(self, reason: str, index: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.index = index


def read_models(text: str, *, encoding: str | None = None) -> tuple[KnownModel, ...]:
    """Read the rows of a file, longest name first.

    Args:
        text: the file.
        encoding: of the rows that name none.

    Raises:
        ModelFactsError: something in it is wrong.
    """
    try:
        return _rows(_parse(text), encoding)
    except _Wrong as wrong:
        raise ModelFactsError(f"{_line(text, wrong.index)}{wrong.reason}") from None


def _parse(text: str) -> Mapping[str, object]:
    try:
        return cast("Mapping[str, object]", tomllib.loads(text))
    except ValueError as error:  # TOML's own, and that of a number with thousands of digits
        _raise_syntax(text, str(error))
    except RecursionError:
        _raise_syntax(text, "It is nested too deeply")


def _raise_syntax(text: str, message: str) -> NoReturn:
    place = _PLACE.search(message)
    line = cast("str | None", place[1]) if place else None
    number = line or max(len(text.splitlines()), 1)
    raise ModelFactsError(f"line {number}: {_PLACE.sub('', message)}") from None


def _line(text: str, index: int | None) -> str:
    """The line of the header of a row; empty where the rows are written in another way."""
    if index is None:
        return ""
    lines = enumerate(text.splitlines(), start=1)
    headers = [number for number, line in lines if _HEADER.match(line)]
    return f"line {headers[index]}: " if index < len(headers) else ""


def _rows(document: Mapping[str, object], encoding: str | None) -> tuple[KnownModel, ...]:
    for field in document:
        if field not in _FILE_FIELDS:
            raise _Wrong(f"{_quoted(field)} is not a field of this file")
    if "as_of" in document and not _is_day(document["as_of"]):
        raise _Wrong("as_of: must be a date, such as 2026-11-30")
    tables = document.get("models", [])
    if not isinstance(tables, list):
        raise _Wrong("models: must be tables, each with the header [[models]]")
    found: dict[str, KnownModel] = {}
    for index, table in enumerate(cast("list[object]", tables)):
        for row in _read_row(index, table, encoding):
            if row.name in found:
                raise _Wrong(f"models[{index}].names: {_quoted(row.name)} has a row already", index)
            found[row.name] = row
    return tuple(sorted(found.values(), key=lambda row: (-len(row.name), row.name)))


def _read_row(index: int, table: object, encoding: str | None) -> list[KnownModel]:
    if not isinstance(table, dict):
        raise _Wrong(f"models[{index}]: must be a table", index)
    row = cast("dict[str, object]", table)
    names = row.get("names")
    try:
        checked = _names(names)
        _refuse_unknown_fields(row)
        model = _model(row, encoding)
        retires = _retirement(row)
    except _Wrong as wrong:
        raise _Wrong(f"models[{index}]{_shown(names)}.{wrong.reason}", index) from None
    return [KnownModel(name, model, retires) for name in checked]


def _names(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    names = [name for name in values if isinstance(name, str) and 0 < len(name) <= _NAME_MAX]
    if not names or len(names) != len(values):
        raise _Wrong('names: must be a list of beginnings of names, such as ["gpt-4o-mini"]')
    return names


def _refuse_unknown_fields(row: Mapping[str, object]) -> None:
    for field in row:
        if field not in _ROW_FIELDS:
            raise _Wrong(f"{_quoted(field)} is not a field; there are {', '.join(_ROW_FIELDS)}")


def _model(row: Mapping[str, object], encoding: str | None) -> Model:
    reasoning = row.get("reasoning", LARGEST.is_reasoning)
    if not isinstance(reasoning, bool):
        raise _Wrong("reasoning: must be true or false")
    named = row.get("encoding", encoding)
    if named is not None and named not in _ENCODINGS:
        raise _Wrong(f"encoding: must be one of {', '.join(_ENCODINGS)}, or left out")
    low = _tokens(row, "image_low", LARGEST.image.low)
    return Model(
        context=_tokens(row, "context", LARGEST.context),
        maximum_output=_tokens(row, "maximum_output", LARGEST.maximum_output),
        is_reasoning=reasoning,
        image=ImageRule(low=low, high=_tokens(row, "image_high", LARGEST.image.high)),
        encoding=cast("str | None", named),
        overhead=_tokens(row, "overhead", 0),
        responses_overhead=_tokens(row, "responses_overhead", 0),
        responses_tools_overhead=_tokens(row, "responses_tools_overhead", 0),
    )


def _tokens(row: Mapping[str, object], field: str, default: int) -> int:
    value = row.get(field, default)
    fewest = _FEWEST[field]
    if not isinstance(value, int) or isinstance(value, bool) or not fewest <= value <= TOKENS_MAX:
        raise _Wrong(f"{field}: must be an integer from {fewest} to {TOKENS_MAX}")
    return value


def _retirement(row: Mapping[str, object]) -> dt.date | None:
    day = row.get("retires")
    if day is None:
        return None
    if not _is_day(day):
        raise _Wrong("retires: must be a date, such as 2027-01-14")
    return cast("dt.date", day)


def _is_day(value: object) -> bool:
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def _shown(names: object) -> str:
    """The first name of a row, in brackets; empty where it has none."""
    first = cast("list[object]", names)[0] if isinstance(names, list) and names else None
    return f" ({_quoted(first)})" if isinstance(first, str) else ""


def _quoted(text: str) -> str:
    return text if text.isprintable() else ascii(text)

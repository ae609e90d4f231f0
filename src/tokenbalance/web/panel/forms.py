"""Fields of forms: read, checked, and shown again with their errors.

Knows what a number or a date looks like, never what a value means: errors of other modules are
added with `refuse`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from tokenbalance.database.ids import ID_MAX
from tokenbalance.errors import InvalidRequest
from tokenbalance.wire.client.request import ClientGone, ClientRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.requests import Request

BODY_BYTES_MAX: Final = 64 * 1024
BODY_WITHIN_S: Final = 30.0
FIELDS_MAX: Final = 100
_DIGITS_MAX: Final = 19
_BEYOND: Final = 2 * ID_MAX
"""In place of a number with more digits."""
_TYPE: Final = "application/x-www-form-urlencoded"
_NAME_CHARS_MAX: Final = 40
WHOLE: Final = ""
"""Instead of a field's name, for an error of the form as a whole."""


class InvalidForm(InvalidRequest):
    """The body is not a form that can be read."""


class NotAForm(InvalidForm):
    """The body has another type."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@dataclass(slots=True)
class Form:
    """Values as typed, and errors, by field or for the `WHOLE` form."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def refuse(self, name: str, message: str) -> None:
        """Add the error of a field; its first error stays."""
        self.errors.setdefault(name, _sentence(message))

    def typed(self, name: str) -> str:
        """Return a value as typed."""
        return self.values.get(name, "")

    def text(self, name: str, *, required: bool = False, chars_max: int = 1024) -> str:
        """Return one line of text without surrounding space; for passwords, use `secret`."""
        value = self.typed(name).strip()
        if required and not value:
            self.refuse(name, "this field is required")
        elif len(value) > chars_max:
            self.refuse(name, f"this must have at most {chars_max:,} characters")
        elif not value.isprintable():
            self.refuse(name, "this must be one line without control characters")
        else:
            return value
        return ""

    def secret(self, name: str) -> str:
        """Return a password, exactly as typed."""
        return self.typed(name)

    def flag(self, name: str) -> bool:
        """Whether a box is checked."""
        return bool(self.typed(name))

    def integer(self, name: str, *, minimum: int = -ID_MAX, maximum: int = ID_MAX) -> int | None:
        """Return a whole number, which may be written 1,000 or 1 000; None if empty or invalid."""
        typed = self.typed(name).strip()
        digits = typed.replace(",", "").replace(" ", "").replace("_", "")
        if not digits:
            return None
        sign, figures = (-1, digits[1:]) if digits[0] in "-\u2212" else (1, digits)
        if not (figures.isascii() and figures.isdecimal()):
            self.refuse(name, "this must be a whole number")
            return None
        value = sign * int(figures) if len(figures) <= _DIGITS_MAX else sign * _BEYOND
        if value < minimum:
            self.refuse(name, f"this must be at least {minimum:,}")
        elif value > maximum:
            self.refuse(name, f"this must be at most {maximum:,}")
        else:
            return value
        return None

    def credits(self, name: str, *, minimum: int = -_BEYOND) -> int | None:
        """Return an amount; the books refuse what is too large. None if empty or invalid."""
        return self.integer(name, minimum=minimum, maximum=_BEYOND)

    def day(self, name: str) -> date | None:
        """Return a date; None if empty or invalid."""
        typed = self.typed(name).strip()
        try:
            return date.fromisoformat(typed) if typed else None
        except ValueError:
            self.refuse(name, "this must be a date such as 2030-12-31")
            return None

    def end_of_day(self, name: str) -> datetime | None:
        """Return the end of a day, in UTC, which is in the future; None if empty or invalid."""
        day = self.day(name)
        if day is None:
            return None
        if day < datetime.now(UTC).date() or day.year >= date.max.year:
            self.refuse(name, "this must be today or a later date")
            return None
        return datetime.combine(day + timedelta(days=1), time(), UTC)

    def one_of(self, name: str, choices: Mapping[str, str]) -> str:
        """Return one of the choices; empty if none was chosen, or it is invalid."""
        value = self.typed(name)
        if value and value not in choices:
            self.refuse(name, "this is not one of the choices")
            return ""
        return value


async def read_form(request: Request, bytes_max: int = BODY_BYTES_MAX) -> Form:
    """Read the body of a POST, of at most so many bytes.

    Raises:
        NotAForm: it has another type.
        RequestTooLarge: larger than any of our forms.
        RequestTimeout: it was not received in time.
        InvalidForm: incomplete, not UTF-8, too many fields, or a field twice.

    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        msg = "Only forms are accepted here."
        raise NotAForm(msg)
    received = ClientRequest.of_asgi(request.scope, request.receive)
    try:
        return _parse(await received.read_body(bytes_max, BODY_WITHIN_S))
    except ClientGone:
        msg = "The form was not received completely."
        raise InvalidForm(msg) from None


def query_form(request: Request, known: Collection[str] | None = None) -> Form:
    """Read the fields of a filter from the query of the address.

    Args:
        request: the page's.
        known: the fields of the filter. Any other is an error: a misspelled filter must not show
            everything. None: any field is accepted.

    Raises:
        InvalidForm: as above.

    """
    form = _parse(request.url.query.encode())
    if known is not None:
        for name in form.values:
            if name not in known:
                form.refuse(WHOLE, _no_filter(name, known))
    return form


def refuse_wrong(form: Form) -> None:
    """Refuse a filter with errors, for files, which cannot show them.

    Raises:
        InvalidForm: a field is invalid.

    """
    for message in form.errors.values():
        raise InvalidForm(message)


def _no_filter(name: str, known: Collection[str]) -> str:
    there = f"use {', '.join(known)}" if known else "there are no filters"
    return f"this page has no filter {name[:_NAME_CHARS_MAX]!a}: {there}"


def _parse(body: bytes) -> Form:
    try:
        fields = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        msg = "The form cannot be read: it is not UTF-8, or has too many fields."
        raise InvalidForm(msg) from None
    values = dict(fields)
    if len(values) != len(fields):
        msg = "A field was sent twice."
        raise InvalidForm(msg)
    return Form(values)


def _sentence(message: str) -> str:
    """Turn the message of an error, which begins in lower case, into a sentence."""
    sentence = message[:1].upper() + message[1:]
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."

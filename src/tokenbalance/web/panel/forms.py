"""Fields that people fill in: read, checked, and shown again with what is wrong with them.

Knows what a number or a day looks like, never what a value means: what a lower module refuses is
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
_TYPE: Final = "application/x-www-form-urlencoded"
_NAME_CHARS_MAX: Final = 40
WHOLE: Final = ""
"""Instead of a field's name: what is wrong with the form belongs to none of its fields."""


class InvalidForm(InvalidRequest):
    """What was sent is no form of ours."""


class NotAForm(InvalidForm):
    """The body is of another type."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@dataclass(slots=True)
class Form:
    """What somebody has typed, and what is wrong with it, by field or as a `WHOLE`."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def refuse(self, name: str, message: str) -> None:
        """Say what is wrong with a field; the first word stands."""
        self.errors.setdefault(name, _sentence(message))

    def typed(self, name: str) -> str:
        """What was typed, for showing it again."""
        return self.values.get(name, "")

    def text(self, name: str, *, required: bool = False, chars_max: int = 1024) -> str:
        """One line of text without surrounding space; passwords are read with `secret`."""
        value = self.typed(name).strip()
        if required and not value:
            self.refuse(name, "this must not be empty")
        elif len(value) > chars_max:
            self.refuse(name, f"this has at most {chars_max:,} characters")
        elif not value.isprintable():
            self.refuse(name, "this must be one line without control characters")
        else:
            return value
        return ""

    def secret(self, name: str) -> str:
        """A password, exactly as typed."""
        return self.typed(name)

    def flag(self, name: str) -> bool:
        """Whether a box is ticked."""
        return bool(self.typed(name))

    def integer(self, name: str, *, minimum: int = -ID_MAX, maximum: int = ID_MAX) -> int | None:
        """A whole number, as people write it (1,000 or 1 000); None when empty or wrong."""
        typed = self.typed(name).strip()
        digits = typed.replace(",", "").replace(" ", "").replace("_", "")
        if not digits:
            return None
        sign, figures = (-1, digits[1:]) if digits[0] in "-\u2212" else (1, digits)
        if not (figures.isascii() and figures.isdecimal()):
            self.refuse(name, "this must be a whole number")
            return None
        value = sign * int(figures) if len(figures) <= _DIGITS_MAX else sign * 2 * ID_MAX
        if value < minimum:
            self.refuse(name, f"this must be at least {minimum:,}")
        elif value > maximum:
            self.refuse(name, f"this must be at most {maximum:,}")
        else:
            return value
        return None

    def day(self, name: str) -> date | None:
        """A day; None when empty or wrong."""
        typed = self.typed(name).strip()
        try:
            return date.fromisoformat(typed) if typed else None
        except ValueError:
            self.refuse(name, "this must be a day, as 2030-12-31")
            return None

    def end_of_day(self, name: str) -> datetime | None:
        """The moment, yet to come, at which a day is over, UTC; None when empty or wrong."""
        day = self.day(name)
        if day is None:
            return None
        if day < datetime.now(UTC).date() or day.year >= date.max.year:
            self.refuse(name, "this must be today or a later day")
            return None
        return datetime.combine(day + timedelta(days=1), time(), UTC)

    def one_of(self, name: str, choices: Mapping[str, str]) -> str:
        """One of the values that a list offers, or nothing."""
        value = self.typed(name)
        if value and value not in choices:
            self.refuse(name, "this is not one of the choices")
            return ""
        return value


async def read_form(request: Request) -> Form:
    """Read a POST's body.

    Raises:
        NotAForm: it is of another type.
        RequestTooLarge: more than any form of ours.
        RequestTimeout: it did not arrive in time.
        InvalidForm: not whole, not UTF-8, too many fields, or one of them twice.

    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        msg = "Only forms are taken here."
        raise NotAForm(msg)
    received = ClientRequest(request.scope, request.receive)
    try:
        return _parse(await received.read_body(BODY_BYTES_MAX, BODY_WITHIN_S))
    except ClientGone:
        msg = "The form did not arrive whole."
        raise InvalidForm(msg) from None


def query_form(request: Request, known: Collection[str] | None = None) -> Form:
    """Read what a filter's fields say, from the address.

    Args:
        request: the page's.
        known: the fields that there are. Another one is wrong: whoever misspells a filter must
            not be shown everything. None takes any.

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
    """Go on only when all that was asked for could be read: a file cannot say what is wrong.

    Raises:
        InvalidForm: something could not.

    """
    for message in form.errors.values():
        raise InvalidForm(message)


def _no_filter(name: str, known: Collection[str]) -> str:
    there = f"there are {', '.join(known)}" if known else "it has none"
    return f"this address has no filter {name[:_NAME_CHARS_MAX]!a}; {there}"


def _parse(body: bytes) -> Form:
    try:
        fields = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        msg = "The fields cannot be read: they are not UTF-8, or too many."
        raise InvalidForm(msg) from None
    values = dict(fields)
    if len(values) != len(fields):
        msg = "A field was sent twice."
        raise InvalidForm(msg)
    return Form(values)


def _sentence(message: str) -> str:
    """A message of a lower module, which begins in lower case, as people read it."""
    sentence = message[:1].upper() + message[1:]
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."

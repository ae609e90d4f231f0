"""Who got which key or link, once: as rows, and as a CSV file. Never stored, never logged."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""


class Gives(StrEnum):
    """What each new user gets."""

    KEYS = "keys"
    """An API key for inference."""
    LINKS = "links"
    """A link that sets a password, once; the user then signs in and makes keys."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one line."""

    line: int
    email: str
    name: str
    user_id: int
    secret: str | None = field(repr=False)
    """The key, or the secret of the link; None for who was a user already."""


def path_of_link(secret: str) -> str:
    """Return the path of the page that a link opens."""
    return f"/welcome/{secret}"


def shown_secret(result: Result, gives: Gives, base_url: str) -> str:
    """Return the key, or the link below this address; empty for who was a user already."""
    if result.secret is None:
        return ""
    return result.secret if gives is Gives.KEYS else base_url + path_of_link(result.secret)


def as_csv(results: Iterable[Result], gives: Gives, base_url: str) -> str:
    """Write results as CSV with the columns email, name, and key or link.

    E-mails and names that a spreadsheet would take for a formula begin with an apostrophe.
    """
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(("email", "name", gives.value.removesuffix("s")))
    for result in results:
        secret = shown_secret(result, gives, base_url)
        writer.writerow((_text(result.email), _text(result.name), secret))
    return written.getvalue()


def _text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell

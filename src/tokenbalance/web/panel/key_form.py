"""The fields of the forms that create a key, as in pieces/keys.html."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

from tokenbalance.people.keys import STATUS_CHOICES
from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit, KeyLimits

if TYPE_CHECKING:
    from tokenbalance.web.panel.forms import Form

_STATUSES: Final = {str(status): str(status) for status in STATUS_CHOICES}


def read_limits(form: Form) -> KeyLimits:
    """Read a key's limits; an empty field is no limit. Errors are added to the form."""
    numbers = {
        name: form.integer(name, minimum=1, maximum=LIMIT_MAX)
        for name in (field.name for field in fields(KeyLimits))
        if name != "models"
    }
    patterns = form.text("models", chars_max=4000).replace(",", " ").split()
    if not form.errors:
        try:
            return KeyLimits(**numbers, models=tuple(patterns) or None)
        except InvalidLimit as error:
            form.refuse(error.field, str(error).partition(": ")[2])
    return KeyLimits()


def read_insufficient_status(form: Form) -> int | None:
    """Read the status of a request that the balance does not cover; None: the server's default."""
    chosen = form.one_of("insufficient_status", _STATUSES)
    return int(chosen) if chosen else None

"""Which new passwords are accepted. Passwords that are stored keep working, whatever the rules say.

    PasswordError
    |-- PasswordTooShort
    |-- PasswordTooLong
    |-- PasswordIsBlank
    |-- PasswordIsEmail
    `-- PasswordTooCommon

A list of common passwords rather than an estimate of strength: it can be told beforehand, gives the
same verdict everywhere, and needs no package. Passwords are looked up as they are read by people:
without case, width, accents and what cannot be seen. They are stored as they were typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from unicodedata import category, normalize

from tokenbalance.people.emails import normal_email

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD_CHARS_MIN: Final = 8
"""Unless the operator chooses another minimum."""
PASSWORD_CHARS_MAX: Final = 1024
_COMMON: Final = "common-passwords.txt"
_OURS: Final = frozenset({"tokenbalance"})
"""Common here: the name of the product."""


class PasswordError(ValueError):
    """The password is not accepted; the message never repeats it."""


class PasswordTooShort(PasswordError):
    """Fewer characters than the minimum."""


class PasswordTooLong(PasswordError):
    """More characters than the maximum."""


class PasswordIsBlank(PasswordError):
    """Nothing in it can be seen."""


class PasswordIsEmail(PasswordError):
    """It is the user's e-mail, or the part before the `@`."""


class PasswordTooCommon(PasswordError):
    """So many people use it that it is among the first to be guessed."""


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """The rules for new passwords."""

    chars_min: int = PASSWORD_CHARS_MIN
    """With fewer than eight, only the length counts, as in the original project."""

    @property
    def hint(self) -> str:
        """Tell the rules beforehand, in one sentence."""
        if self._only_length:
            return f"At least {self.chars_min} characters."
        return f"At least {self.chars_min} characters; not a common password, and not your e-mail."

    def check(self, password: str, email: str = "") -> None:
        """Check that a new password is accepted.

        Raises:
            PasswordTooShort, PasswordTooLong, PasswordIsBlank, PasswordIsEmail, PasswordTooCommon:
                it is not.

        """
        if len(password) < self.chars_min:
            msg = f"the password must have at least {self.chars_min} characters"
            raise PasswordTooShort(msg)
        if len(password) > PASSWORD_CHARS_MAX:
            msg = f"the password must have at most {PASSWORD_CHARS_MAX} characters"
            raise PasswordTooLong(msg)
        if self._only_length:
            return
        plain = _plain(password)
        if not plain:
            msg = "the password must not be blank"
            raise PasswordIsBlank(msg)
        if plain in _names_of(email):
            msg = "the password must not be the e-mail or the part of it before the '@'"
            raise PasswordIsEmail(msg)
        if any(unit in _common_passwords() for unit in _units(plain)):
            msg = "the password is too common: choose one that others are unlikely to use"
            raise PasswordTooCommon(msg)

    @property
    def _only_length(self) -> bool:
        return self.chars_min < PASSWORD_CHARS_MIN


DEFAULT_RULES: Final = PasswordRules()


def _plain(text: str) -> str:
    """Return the text as people read it: without case, width, accents and what cannot be seen."""
    folded = normalize("NFKD", normalize("NFKD", text).casefold())
    return "".join(
        char for char in folded if char.isprintable() and category(char)[0] != "M"
    ).strip()


def _units(text: str) -> Iterator[str]:
    """Yield each text that this one repeats, and itself."""
    for length in range(1, len(text) + 1):
        times, rest = divmod(len(text), length)
        if not rest and text == text[:length] * times:
            yield text[:length]


def _names_of(email: str) -> set[str]:
    plain = _plain(normal_email(email))
    return {plain, plain.partition("@")[0]} - {""}


@cache
def _common_passwords() -> frozenset[str]:
    text = (files("tokenbalance.people") / _COMMON).read_text("utf-8")
    # The header's lines begin with "#", and so does one of the passwords.
    return _OURS.union(line for line in text.splitlines() if line != "#" and line[:2] != "# ")

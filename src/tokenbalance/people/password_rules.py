"""Which new passwords are accepted. Passwords that are stored keep working, whatever the rules say.

    PasswordError
    |-- PasswordTooShort
    |-- PasswordTooLong
    |-- PasswordIsEmail
    `-- PasswordTooCommon

A list of common passwords rather than an estimate of strength: it can be told beforehand, gives the
same verdict everywhere, and needs no package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from tokenbalance.people.emails import normal_email

PASSWORD_CHARS_MIN: Final = 8
"""Unless the operator chooses another minimum."""
PASSWORD_CHARS_MAX: Final = 1024
_COMMON: Final = "common-passwords.txt"


class PasswordError(ValueError):
    """The password is not accepted; the message never repeats it."""


class PasswordTooShort(PasswordError):
    """Fewer characters than the minimum."""


class PasswordTooLong(PasswordError):
    """More characters than the maximum."""


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
            PasswordTooShort, PasswordTooLong, PasswordIsEmail, PasswordTooCommon: it is not.

        """
        if len(password) < self.chars_min:
            msg = f"the password must have at least {self.chars_min} characters"
            raise PasswordTooShort(msg)
        if len(password) > PASSWORD_CHARS_MAX:
            msg = f"the password must have at most {PASSWORD_CHARS_MAX} characters"
            raise PasswordTooLong(msg)
        if self._only_length:
            return
        lowered = password.strip().lower()
        if lowered in _names_of(email):
            msg = "the password must not be the e-mail or the part of it before the '@'"
            raise PasswordIsEmail(msg)
        if lowered in _common_passwords():
            msg = "the password is too common: choose one that others are unlikely to use"
            raise PasswordTooCommon(msg)

    @property
    def _only_length(self) -> bool:
        return self.chars_min < PASSWORD_CHARS_MIN


DEFAULT_RULES: Final = PasswordRules()


def _names_of(email: str) -> set[str]:
    lowered = normal_email(email).lower()
    return {lowered, lowered.partition("@")[0]} - {""}


@cache
def _common_passwords() -> frozenset[str]:
    text = (files("tokenbalance.people") / _COMMON).read_text("utf-8")
    # The header's lines begin with "#", and so does one of the passwords.
    return frozenset(line for line in text.splitlines() if line != "#" and line[:2] != "# ")

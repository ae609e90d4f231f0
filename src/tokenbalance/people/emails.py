"""E-mail addresses: which are accepted, and how two of them compare.

An address is stored in Unicode's form NFKC, so that look-alikes such as full-width letters are
one address; the database compares in lower case. Users from before this rule keep an address in
another form only where the normalised one belongs to somebody else.
"""

from __future__ import annotations

from typing import Final
from unicodedata import normalize

EMAIL_CHARS_MAX: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets


def normal_email(email: str) -> str:
    """Return the form of an address that is stored and compared, apart from case.

    Text that is too long for an address is returned as it is: normalising it is not worth the work.
    """
    email = email.strip()
    return normalize("NFKC", email).strip() if len(email) <= EMAIL_CHARS_MAX else email


def email_mistake(email: str) -> str | None:
    """Return what is wrong with a normalised address, without repeating it; None if nothing is.

    Only what cannot be an address is refused; nothing checks that mail is delivered.
    """
    local, _, domain = email.partition("@")
    if len(email) > EMAIL_CHARS_MAX:
        return f"the e-mail must have at most {EMAIL_CHARS_MAX} characters"
    if not email.isprintable() or " " in email:
        return "the e-mail must not contain spaces or control characters"
    if not local or not domain or "@" in domain:
        return "the e-mail must have exactly one '@', with text before and after it"
    return None

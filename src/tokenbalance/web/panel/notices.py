"""What is said once, on the page after a form: the words are here, the browser keeps only which.

Nothing that comes from a browser is ever shown as a notice.
"""

from __future__ import annotations

import enum


class Notice(enum.Enum):
    """Something that has been done."""

    SIGNED_OUT = "signed-out", "You are signed out."
    KEY_MADE = "key-made", "The key is made."
    KEY_RENEWED = "key-renewed", "The key has a new secret. The one before is refused from now on."
    NOT_SAVED = "not-saved", "You were signed out; nothing was saved."
    KEY_REVOKED = "key-revoked", "The key is revoked. Requests with it are refused from now on."
    PROFILE_SAVED = "profile-saved", "Your name is saved."
    PASSWORD_CHANGED = (
        "password-changed",
        "Your password is changed. Everywhere else you are signed out.",
    )
    USER_CREATED = "user-created", "The user is created."
    USER_RENAMED = "user-renamed", "The user's name is saved."
    USER_DISABLED = (
        "user-disabled",
        "The user is disabled: keys and sign-ins are refused from now on. Nothing was deleted.",
    )
    USER_ENABLED = "user-enabled", "The user is enabled again, with the keys of before."
    SUPERUSER_MADE = "superuser-made", "The user is a superuser now, and may manage everybody."
    SUPERUSER_UNMADE = "superuser-unmade", "The user is an ordinary user now."
    PASSWORD_SET = (
        "password-set",
        "The user's password is changed. Wherever they were signed in, they are signed out.",
    )
    CREDITS_ADDED = "credits-added", "The credits are entered in the ledger."
    BALANCE_SET = "balance-set", "The balance is set; the difference is entered in the ledger."
    REFUNDED = "refunded", "The refund is entered in the ledger."

    def __init__(self, code: str, words: str) -> None:
        self.code = code
        self.words = words


_BY_CODE = {notice.code: notice for notice in Notice}


def notice_of(code: str | None) -> Notice | None:
    """The notice that a browser was asked to show."""
    return _BY_CODE.get(code) if code else None

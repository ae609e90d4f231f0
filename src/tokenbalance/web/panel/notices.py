"""Notices, shown once on the page after a form. The browser keeps only which one, and a number.

Text from a browser is never shown as a notice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

_DIGITS_MAX: Final = 9


class Notice(enum.Enum):
    """Something that was done."""

    SIGNED_OUT = "signed-out", "You have signed out."
    KEY_MADE = "key-made", "Key created."
    KEY_RENEWED = "key-renewed", "New secret created. The old secret no longer works."
    NOT_SAVED = "not-saved", "You were signed out, so nothing was saved."
    KEY_REVOKED = "key-revoked", "Key revoked. Requests that use it are now refused."
    FAMILY_REVOKED = (
        "family-revoked",
        "Key revoked, and {keys} made with it. Requests that use them are now refused.",
    )
    KEYS_REVOKED = "keys-revoked", "{keys} revoked. Requests that use them are now refused."
    LIMITS_SAVED = "limits-saved", "Limits saved. They apply from now on."
    BUDGET_ADDED = "budget-added", "Budget added."
    BUDGET_REMOVED = "budget-removed", "Budget removed."
    PROFILE_SAVED = "profile-saved", "Name saved."
    PASSWORD_CHANGED = (
        "password-changed",
        "Password changed. You have been signed out everywhere else.",
    )
    SIGN_IN_ENDED = "sign-in-ended", "Sign-in ended. It is refused from now on."
    OTHERS_ENDED = "others-ended", "You have been signed out everywhere else."
    USER_CREATED = "user-created", "User created."
    USER_RENAMED = "user-renamed", "Name saved."
    USER_DISABLED = (
        "user-disabled",
        "User disabled. Their keys and sign-ins are now refused. Nothing was deleted.",
    )
    USER_ENABLED = "user-enabled", "User enabled. Their keys work again."
    SUPERUSER_MADE = "superuser-made", "The user is now a superuser and can manage all users."
    SUPERUSER_UNMADE = "superuser-unmade", "The user is no longer a superuser."
    TAGS_SAVED = "tags-saved", "Tags saved."
    TAG_CREDITED = "tag-credited", "Credits added to everybody with this tag."
    TAG_DISABLED = (
        "tag-disabled",
        "Everybody with this tag is disabled, except superusers. Nothing was deleted.",
    )
    TAG_ENABLED = "tag-enabled", "Everybody with this tag is enabled, except superusers."
    PASSWORD_SET = (
        "password-set",
        "Password changed. The user has been signed out everywhere.",
    )
    CREDITS_ADDED = "credits-added", "Balance updated. The change is in the ledger."
    BALANCE_SET = "balance-set", "Balance set. The difference is in the ledger."
    CREDITS_KEPT = (
        "credits-kept",
        "Some credits stayed: requests in flight hold them, see the ledger. Take them later.",
    )
    BALANCE_KEPT = (
        "balance-kept",
        "Some credits stayed: requests in flight hold them, see the ledger. Set it again later.",
    )
    OVERDRAFT_SET = "overdraft-set", "Overdraft set. The change is in the ledger."
    GRANTED = "granted", "Credits granted. The change is in the ledger."
    ALLOWANCE_MADE = "allowance-made", "Allowance created. Its credits are in the ledger."
    ALLOWANCE_REMOVED = "allowance-removed", "Allowance removed. It issues no more credits."
    REFUNDED = "refunded", "Refund added to the ledger."

    def __init__(self, code: str, words: str) -> None:
        self.code = code
        self.words = words


_BY_CODE = {notice.code: notice for notice in Notice}


@dataclass(frozen=True, slots=True)
class Shown:
    """A notice as it is shown."""

    words: str


def kept_notice(notice: Notice, keys: int | None = None) -> str:
    """Return what the browser keeps.

    Args:
        notice: which one.
        keys: how many it is about, if it says so.

    """
    return notice.code if keys is None else f"{notice.code}.{keys}"


def notice_of(kept: str | None) -> Shown | None:
    """Return the notice that the browser kept."""
    code, _, digits = (kept or "").partition(".")
    notice = _BY_CODE.get(code)
    if notice is None or len(digits) > _DIGITS_MAX:
        return None
    keys = int(digits) if digits.isascii() and digits.isdecimal() else 0
    return Shown(notice.words.replace("{keys}", f"{keys:,} key{'' if keys == 1 else 's'}"))

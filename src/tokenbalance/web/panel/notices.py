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
    TEAM_CREATED = "team-created", "Team created. It has no credits yet."
    TEAM_SAVED = "team-saved", "Team saved."
    TEAM_CLOSED = "team-closed", "Team closed. Its keys are now refused. Its ledger is kept."
    TEAM_LEFT = "team-left", "You have left the team. Your keys in it are revoked."
    TEAM_JOINED = "team-joined", "You have joined the team."
    MEMBER_ADDED = "member-added", "Member added."
    ROLE_CHANGED = "role-changed", "Role changed."
    MEMBER_DISABLED = (
        "member-disabled",
        "Member disabled. Their keys in this team are now refused. Nothing was deleted.",
    )
    MEMBER_ENABLED = "member-enabled", "Member enabled. Their keys in this team work again."
    MEMBER_REMOVED = "member-removed", "Member removed. Their keys in this team are revoked."
    INVITED = "invited", "Invitation created."
    INVITATION_WITHDRAWN = "invitation-withdrawn", "Invitation withdrawn. Its link is now refused."
    PROJECT_CREATED = "project-created", "Project created."
    PROJECT_RENAMED = "project-renamed", "Project renamed."
    PROJECT_ARCHIVED = (
        "project-archived",
        "Project archived. Its keys are refused until it is restored.",
    )
    PROJECT_RESTORED = "project-restored", "Project restored. Its keys work again."
    CREDITS_MOVED = "credits-moved", "Credits moved. Both entries are in the ledgers."

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

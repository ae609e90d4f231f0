"""The events, by name: the thing and what happened to it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast, get_args

Change: TypeAlias = Literal[
    "user.created",
    "user.signed_up",
    "user.renamed",
    "user.disabled",
    "user.enabled",
    "user.promoted",
    "user.demoted",
    "user.password_set",
    "user.unlocked",
    "user.tagged",
    "user.link_created",
    "key.created",
    "key.changed",
    "key.rotated",
    "key.revoked",
    "token.ended",
    "account.limits_set",
    "budget.added",
    "budget.changed",
    "budget.removed",
    "balance.granted",
    "balance.added",
    "balance.adjusted",
    "balance.set",
    "balance.refunded",
    "balance.rerated",
    "balance.overdraft_set",
    "allowance.created",
    "allowance.changed",
    "allowance.removed",
    "object.adopted",
    "alert.thresholds_set",
    "team.created",
    "team.changed",
    "team.closed",
    "member.added",
    "member.changed",
    "member.removed",
    "project.created",
    "project.changed",
    "invitation.created",
    "invitation.withdrawn",
    "balance.transferred",
    "webhook.created",
    "webhook.removed",
    "webhook.tried",
]
"""What somebody changed: a line for everybody, and a row if they are privileged, or if it belongs
to a team."""

Access: TypeAlias = Literal[
    "user.signed_in",
    "user.sign_in_failed",
    "user.locked_out",
    "key.refused",
    "key.out_of_scope",
    "form.refused",
]
"""Who came in, or did not: only lines."""

EventName: TypeAlias = Change | Access

OF_TEAMS: Final[frozenset[Change]] = frozenset(
    {
        "team.created",
        "team.changed",
        "team.closed",
        "member.added",
        "member.changed",
        "member.removed",
        "project.created",
        "project.changed",
        "invitation.created",
        "invitation.withdrawn",
        "balance.transferred",
    }
)
"""Those that concern several users, whoever changes something."""

RECORDED: Final[tuple[Change, ...]] = tuple(
    name for name in cast("tuple[Change, ...]", get_args(Change)) if name != "user.signed_up"
)
"""Those of rows: strangers sign themselves up."""

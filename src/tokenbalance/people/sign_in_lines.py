"""The security log's lines about signing in.

People type passwords into the field of the e-mail. So an e-mail is never written, nor its hash: a
hash of a password could be reversed. What fails for an e-mail that a user has names the user's id;
what fails for any other names only the address it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from tokenbalance.events import Line, say_after_commit, say_refusal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.rows import UserRow

Failure: TypeAlias = Literal["unknown_user", "cannot_sign_in", "wrong_password"]
"""`cannot_sign_in`: the user is disabled, or has no password."""


def say_signed_in(session: AsyncSession, user: UserRow, token_id: int, address: str) -> None:
    """Write a line when the sign-in is committed."""
    line = Line(
        event="user.signed_in",
        outcome="ok",
        user=user.id,
        actor=user.email,
        key_id=token_id,
        address=address,
    )
    say_after_commit(session, line)


def say_failed(user_id: int, address: str, *, has_hash: bool) -> None:
    """Write a line about a password that was not accepted.

    Args:
        user_id: 0 if no user has the e-mail.
        address: the client's IP address.
        has_hash: there was a hash to verify the password against.

    """
    reason: Failure = "wrong_password" if has_hash else "cannot_sign_in"
    say_refusal(
        Line(
            event="user.sign_in_failed",
            outcome="failed",
            reason=reason if user_id else "unknown_user",
            user=user_id or None,
            address=address,
        )
    )


def say_locked_out(user_id: int, address: str) -> None:
    """Write a line about an attempt that came too early; its password was not verified.

    Args:
        user_id: 0 if no user has the e-mail.
        address: the client's IP address.

    """
    say_refusal(
        Line(
            event="user.locked_out",
            outcome="refused",
            reason="too_many_failures",
            user=user_id or None,
            address=address,
        )
    )

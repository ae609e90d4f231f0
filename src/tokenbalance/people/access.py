"""Who may do what: the only place that checks roles.

    an API key    all that its owner may do, except changing the password
    a user        their own account, keys, ledger and requests
    a superuser   every account, and the users themselves

What belongs to another user is "not found" rather than "forbidden", so that ids reveal nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.errors import NotAllowed

if TYPE_CHECKING:
    from tokenbalance.model import Caller


def require_superuser(caller: Caller) -> None:
    """Require a superuser.

    Raises:
        NotAllowed: the caller is an ordinary user.

    """
    if not caller.is_superuser:
        msg = "This requires a superuser."
        raise NotAllowed(msg)


def require_sign_in(caller: Caller) -> None:
    """Require a sign-in token, not an API key.

    Raises:
        NotAllowed: the caller uses an API key.

    """
    if not caller.signed_in:
        msg = "This requires a sign-in token; an API key is not enough."
        raise NotAllowed(msg)


def subject_of(caller: Caller, user_id: int | None) -> int:
    """Return the user that a request is about: the caller, or the one that a superuser names.

    Raises:
        NotAllowed: an ordinary user names another user.

    """
    if user_id is None or user_id == caller.user_id:
        return caller.user_id
    require_superuser(caller)
    return user_id


def sees_everything(caller: Caller) -> bool:
    """Whether the caller also finds what belongs to other users."""
    return caller.is_superuser

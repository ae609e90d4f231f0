"""Who may do what to whom: the only place where roles are looked at.

    an API key    all that its owner may do, but for changing the password
    a user        their own account, keys, ledger and requests
    a superuser   everybody's, and users themselves

What belongs to somebody else is not found rather than forbidden, so that ids tell nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.errors import NotAllowed

if TYPE_CHECKING:
    from tokenbalance.model import Caller


def require_superuser(caller: Caller) -> None:
    """Go on only for those who may manage others.

    Raises:
        NotAllowed: the caller is an ordinary user.

    """
    if not caller.is_superuser:
        msg = "Only a superuser may do this."
        raise NotAllowed(msg)


def require_sign_in(caller: Caller) -> None:
    """Go on only for the person, not for a program that was given a key.

    Raises:
        NotAllowed: the caller came with an API key.

    """
    if not caller.signed_in:
        msg = "An API key may not do this: use a sign-in token."
        raise NotAllowed(msg)


def subject_of(caller: Caller, user_id: int | None) -> int:
    """Tell which user a request is about: who asks, or whom a superuser names.

    Raises:
        NotAllowed: an ordinary user names somebody else.

    """
    if user_id is None or user_id == caller.user_id:
        return caller.user_id
    require_superuser(caller)
    return user_id


def sees_everything(caller: Caller) -> bool:
    """Whether what belongs to others may be found, too."""
    return caller.is_superuser

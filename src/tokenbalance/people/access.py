"""Who may do what: the only place that checks roles and scopes.

                     /v1, quote   read one's own   change one's own   as a superuser
    inference        yes          yes              no                 no
    read             no           yes              no                 no
    manage           no           yes              yes, but for the   if the owner is one
                                                   password
    sign-in token    yes          yes              yes                if the user is one

A key has one scope or several. What belongs to another user is "not found" rather than
"forbidden", so that ids reveal nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.errors import MissingScope, NotAllowed

if TYPE_CHECKING:
    from tokenbalance.model import Caller, Scope


def require_inference(caller: Caller) -> None:
    """Require what may send requests to models.

    Raises:
        MissingScope: the key may not.

    """
    _require(caller, "inference")


def require_manage(caller: Caller) -> None:
    """Require what may change something of the caller's own.

    Raises:
        MissingScope: the key may not.

    """
    _require(caller, "manage")


def require_superuser(caller: Caller) -> None:
    """Require a superuser, with what may act as one.

    Raises:
        NotAllowed: the caller is an ordinary user.
        MissingScope: the superuser's key is an ordinary user's.

    """
    if not caller.is_superuser:
        msg = "This requires a superuser."
        raise NotAllowed(msg)
    require_manage(caller)


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
        MissingScope: the superuser's key is an ordinary user's.

    """
    if user_id is None or user_id == caller.user_id:
        return caller.user_id
    require_superuser(caller)
    return user_id


def sees_everything(caller: Caller) -> bool:
    """Whether the caller also finds what belongs to other users."""
    return caller.is_superuser and _may(caller, "manage")


def asking_key(caller: Caller) -> int | None:
    """Return the key beyond which the caller may give nothing; None with a sign-in token."""
    return None if caller.signed_in else caller.key_id


def _may(caller: Caller, scope: Scope) -> bool:
    return scope in caller.scopes or caller.signed_in


def _require(caller: Caller, scope: Scope) -> None:
    if not _may(caller, scope):
        raise MissingScope([scope], caller.scopes)

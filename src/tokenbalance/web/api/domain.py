"""What the errors of accounts and books are to a client: the one table of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from tokenbalance.books.ledger.credits import (
    AmountTooLarge,
    BalanceTooLow,
    CreditError,
    InvalidIdempotencyKey,
    InvalidNote,
    KeyReused,
    UnknownAccount,
    UnknownRequest,
)
from tokenbalance.books.reports import UnknownRequest as UnexplainedRequest
from tokenbalance.database.paging import InvalidCursor
from tokenbalance.errors import (
    IdempotencyKeyReused,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidCredentials,
    InvalidRequest,
    InvalidValue,
    NotFound,
    ProxyError,
    ServiceUnavailable,
    TooManyAttempts,
)
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.keys import (
    ApiKeyError,
    InvalidExpiry,
    InvalidInsufficientStatus,
    InvalidKeyName,
    UnknownKey,
)
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.passwords import Busy, PasswordError
from tokenbalance.people.sign_in import SlowDown, WrongCredentials
from tokenbalance.people.users import (
    EmailTaken,
    InvalidEmail,
    InvalidName,
    UnknownUser,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Response = Callable[[Exception], ProxyError]

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"


class _Sentence(Protocol):
    def __call__(self, message: str, *, param: str | None = None) -> ProxyError: ...


def _as(responded: _Sentence, param: str | None = None) -> Response:
    """Say the error's own words, of this parameter."""
    return lambda error: responded(_sentence(str(error)), param=param)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:].removesuffix('.')}."


def _limit(error: Exception) -> ProxyError:
    return InvalidValue(_sentence(str(error)), param=cast("InvalidLimit", error).field)


# Of an error's classes the nearest that is here counts.
_RESPONSES: Final[Mapping[type[BaseException], Response]] = {
    UserError: _as(InvalidRequest),
    InvalidEmail: _as(InvalidValue, "email"),
    InvalidName: _as(InvalidValue, "name"),
    EmailTaken: _as(InvalidValue, "email"),
    UnknownUser: _as(NotFound),
    PasswordError: _as(InvalidValue, "password"),
    Busy: lambda _: ServiceUnavailable("Too many passwords wait to be looked at"),
    WrongCredentials: _as(InvalidCredentials),
    SlowDown: lambda error: TooManyAttempts(cast("SlowDown", error).retry_after_s),
    TooSoon: lambda error: TooManyAttempts(
        cast("TooSoon", error).retry_after_s, "Too many users were created from your address"
    ),
    ApiKeyError: _as(InvalidRequest),
    InvalidKeyName: _as(InvalidValue, "name"),
    InvalidExpiry: _as(InvalidValue, "expires_at"),
    InvalidInsufficientStatus: _as(InvalidValue, "insufficient_status"),
    InvalidLimit: _limit,
    UnknownKey: _as(NotFound),
    CreditError: _as(InvalidValue, "amount"),
    AmountTooLarge: _as(IntegerAboveMaximum, "amount"),
    BalanceTooLow: _as(IntegerBelowMinimum, "amount"),
    InvalidNote: _as(InvalidValue, "note"),
    InvalidIdempotencyKey: _as(InvalidValue, IDEMPOTENCY_HEADER),
    KeyReused: _as(IdempotencyKeyReused, IDEMPOTENCY_HEADER),
    UnknownAccount: _as(NotFound),
    UnknownRequest: _as(NotFound),
    UnexplainedRequest: _as(NotFound),
    InvalidCursor: _as(InvalidValue, "after"),
}


def response_to(error: Exception) -> ProxyError | None:
    """Find what a client is told; None when the error is none of accounts and books."""
    responses = (_RESPONSES[kind] for kind in type(error).__mro__ if kind in _RESPONSES)
    response = next(responses, None)
    return None if response is None else response(error)

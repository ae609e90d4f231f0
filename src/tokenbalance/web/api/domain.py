"""The responses to errors of people and books, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from tokenbalance.alerts.errors import InvalidThresholds, UnknownWebhook, WebhookError
from tokenbalance.books.grants.allowances import (
    AllowanceEndInvalid,
    RolloverOutOfRange,
    UnknownAllowance,
)
from tokenbalance.books.grants.issuing import EndInvalid, PriorityOutOfRange
from tokenbalance.books.ledger.credits import (
    AmountTooLarge,
    BalanceTooLow,
    CreditError,
    InvalidIdempotencyKey,
    InvalidNote,
    KeyReused,
    OverdraftInUse,
    OverdraftOutOfRange,
    UnknownAccount,
    UnknownRequest,
)
from tokenbalance.books.ledger.transfers import AccountClosed, SameAccount
from tokenbalance.books.reports import UnknownRequest as UnexplainedRequest
from tokenbalance.database.paging import InvalidCursor
from tokenbalance.errors import (
    IdempotencyKeyReused,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidApiKey,
    InvalidCredentials,
    InvalidRequest,
    InvalidValue,
    MissingScope,
    NotAllowed,
    NotFound,
    ProxyError,
    TooManyAttempts,
    TooManySigningIn,
)
from tokenbalance.people.account_limits import UnknownAccount as NoSuchAccount
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.budgets import BudgetError, BudgetIsBound, HasBudgets, UnknownBudget
from tokenbalance.people.imports.enrolling import ImportRepeated
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.key_errors import (
    ApiKeyError,
    InvalidExpiry,
    InvalidInsufficientStatus,
    InvalidKeyName,
    InvalidScopes,
    KeyExceeds,
    MakerEnded,
    ScopesMissing,
    UnknownKey,
)
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.passwords import Busy
from tokenbalance.people.sign_in import SlowDown, WrongCredentials, WrongPassword
from tokenbalance.people.sign_in_tokens import UnknownToken
from tokenbalance.people.tag_names import InvalidTag
from tokenbalance.people.tags import UnknownTag
from tokenbalance.people.teams.errors import (
    InvalidProject,
    InvalidTeamName,
    ProjectArchived,
    TeamError,
    UnknownInvitation,
    UnknownMember,
    UnknownProject,
    UnknownTeam,
    ViewersHaveNoKeys,
)
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
    """Respond with the error's own message, about this parameter."""
    return lambda error: responded(_sentence(str(error)), param=param)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:].removesuffix('.')}."


def _limit(error: Exception) -> ProxyError:
    wrong = cast("InvalidLimit", error)
    return InvalidValue(f"Invalid '{wrong.field}': {wrong.reason}.", param=wrong.field)


def _webhook(error: Exception) -> ProxyError:
    return InvalidValue(_sentence(str(error)), param=cast("WebhookError", error).field)


def _scopes_missing(error: Exception) -> ProxyError:
    refused = cast("ScopesMissing", error)
    return MissingScope(refused.missing, refused.held, param="scopes")


# The nearest class of an error that is in the table counts.
_RESPONSES: Final[Mapping[type[BaseException], Response]] = {
    InvalidThresholds: _as(InvalidValue, "below"),
    WebhookError: _webhook,
    UnknownWebhook: _as(NotFound),
    UserError: _as(InvalidRequest),
    InvalidEmail: _as(InvalidValue, "email"),
    InvalidName: _as(InvalidValue, "name"),
    EmailTaken: _as(InvalidValue, "email"),
    UnknownUser: _as(NotFound),
    InvalidTag: _as(InvalidValue, "tag"),
    UnknownTag: _as(NotFound),
    ImportRefused: _as(InvalidValue, "csv"),
    ImportRepeated: _as(IdempotencyKeyReused, IDEMPOTENCY_HEADER),
    PasswordError: _as(InvalidValue, "password"),
    Busy: lambda error: TooManySigningIn(_sentence(str(error))),
    WrongCredentials: _as(InvalidCredentials),
    WrongPassword: _as(InvalidCredentials, "current_password"),
    SlowDown: lambda error: TooManyAttempts(cast("SlowDown", error).retry_after_s),
    TooSoon: lambda error: TooManyAttempts(
        cast("TooSoon", error).retry_after_s, "Too many users were created from your address"
    ),
    ApiKeyError: _as(InvalidRequest),
    InvalidKeyName: _as(InvalidValue, "name"),
    InvalidExpiry: _as(InvalidValue, "expires_at"),
    InvalidInsufficientStatus: _as(InvalidValue, "insufficient_status"),
    InvalidScopes: _as(InvalidValue, "scopes"),
    InvalidLimit: _limit,
    ScopesMissing: _scopes_missing,
    KeyExceeds: _as(NotAllowed),
    MakerEnded: _as(InvalidApiKey),
    UnknownKey: _as(NotFound),
    UnknownToken: _as(NotFound),
    NoSuchAccount: _as(NotFound),
    TeamError: _as(InvalidRequest),
    InvalidTeamName: _as(InvalidValue, "name"),
    InvalidProject: _as(InvalidValue, "name"),
    ProjectArchived: _as(InvalidValue, "project_id"),
    ViewersHaveNoKeys: _as(InvalidValue, "user_id"),
    UnknownTeam: _as(NotFound),
    UnknownMember: _as(NotFound),
    UnknownProject: _as(NotFound),
    UnknownInvitation: _as(NotFound),
    BudgetError: _as(InvalidRequest),
    BudgetIsBound: _as(NotAllowed),
    HasBudgets: _as(NotAllowed),
    UnknownBudget: _as(NotFound),
    CreditError: _as(InvalidValue, "amount"),
    AccountClosed: _as(InvalidValue, "to_account_id"),
    SameAccount: _as(InvalidValue, "to_account_id"),
    AmountTooLarge: _as(IntegerAboveMaximum, "amount"),
    BalanceTooLow: _as(IntegerBelowMinimum, "amount"),
    InvalidNote: _as(InvalidValue, "note"),
    InvalidIdempotencyKey: _as(InvalidValue, IDEMPOTENCY_HEADER),
    KeyReused: _as(IdempotencyKeyReused, IDEMPOTENCY_HEADER),
    OverdraftInUse: _as(IntegerBelowMinimum, "overdraft"),
    OverdraftOutOfRange: _as(InvalidValue, "overdraft"),
    EndInvalid: _as(InvalidValue, "expires_at"),
    PriorityOutOfRange: _as(InvalidValue, "priority"),
    AllowanceEndInvalid: _as(InvalidValue, "ends_at"),
    RolloverOutOfRange: _as(InvalidValue, "rollover_max"),
    UnknownAccount: _as(NotFound),
    UnknownAllowance: _as(NotFound),
    UnknownRequest: _as(NotFound),
    UnexplainedRequest: _as(NotFound),
    InvalidCursor: _as(InvalidValue, "after"),
}


def response_to(error: Exception) -> ProxyError | None:
    """Return the response to an error; None if it is not an error of people or books."""
    responses = (_RESPONSES[kind] for kind in type(error).__mro__ if kind in _RESPONSES)
    response = next(responses, None)
    return None if response is None else response(error)

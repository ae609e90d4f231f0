"""What is told, by name: the thing and what happened to it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

AccountEvent: TypeAlias = Literal[
    "balance.low",
    "balance.empty",
    "budget.reached",
    "grant.expiring",
    "key.expiring",
]
"""About an account; its user, or the owners and admins of the team, are told as well."""

OperatorEvent: TypeAlias = Literal[
    "upstream.refused_key",
    "upstream.quota",
    "books.violated",
    "model.shutdown_soon",
]
"""About the installation."""

AlertEvent: TypeAlias = AccountEvent | OperatorEvent

TEST: Final = "webhook.test"
"""What a webhook gets when somebody tries it out."""

ACCOUNT_EVENTS: Final[tuple[str, ...]] = get_args(AccountEvent)
EVENTS: Final[tuple[str, ...]] = (*ACCOUNT_EVENTS, *get_args(OperatorEvent))

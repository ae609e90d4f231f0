"""The schema as SQLAlchemy sees it. Migrations create it; `alembic check` proves that they agree.

Constraints are part of the design: a state that must not exist cannot be written. Every table that
the request path touches has `account_id` in its key, so it can be distributed by account.
"""

from tokenbalance.database.tables.alerts import Alert, AlertDelivery, AlertThreshold, Webhook
from tokenbalance.database.tables.base import Base
from tokenbalance.database.tables.events import EventRecord
from tokenbalance.database.tables.grants import PERIODS, Allowance, Burn, Grant
from tokenbalance.database.tables.imports import UserImport, WelcomeLink
from tokenbalance.database.tables.ledger import (
    ENTRY_KINDS,
    HOLD_STATES,
    LEDGER_KINDS,
    Books,
    LedgerEntry,
)
from tokenbalance.database.tables.limits import UNITS, Limit
from tokenbalance.database.tables.objects import StoredObject
from tokenbalance.database.tables.people import (
    ACCOUNT_KINDS,
    INSUFFICIENT_STATUSES,
    KEY_KINDS,
    SIGN_IN_WAYS,
    Account,
    ApiKey,
    KnownBrowser,
    SignIn,
    SignInFailures,
    User,
)
from tokenbalance.database.tables.refusals import RefusalCount
from tokenbalance.database.tables.requests import OpenHold, Waiter
from tokenbalance.database.tables.sums import (
    TopAccount,
    UsageChange,
    UsageDay,
    UsageDayKind,
    UsageSummed,
    UsageSums,
    UsageTotal,
    UsageTotalKind,
)
from tokenbalance.database.tables.teams import TEAM_ROLES, Invitation, Membership, Project

__all__ = [
    "ACCOUNT_KINDS",
    "ENTRY_KINDS",
    "HOLD_STATES",
    "INSUFFICIENT_STATUSES",
    "KEY_KINDS",
    "LEDGER_KINDS",
    "PERIODS",
    "SIGN_IN_WAYS",
    "TEAM_ROLES",
    "UNITS",
    "Account",
    "Alert",
    "AlertDelivery",
    "AlertThreshold",
    "Allowance",
    "ApiKey",
    "Base",
    "Books",
    "Burn",
    "EventRecord",
    "Grant",
    "Invitation",
    "KnownBrowser",
    "LedgerEntry",
    "Limit",
    "Membership",
    "OpenHold",
    "Project",
    "RefusalCount",
    "SignIn",
    "SignInFailures",
    "StoredObject",
    "TopAccount",
    "UsageChange",
    "UsageDay",
    "UsageDayKind",
    "UsageSummed",
    "UsageSums",
    "UsageTotal",
    "UsageTotalKind",
    "User",
    "UserImport",
    "Waiter",
    "Webhook",
    "WelcomeLink",
]

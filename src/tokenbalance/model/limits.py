"""What limits the requests of a key: rules that are checked, and counts that a hold takes.

Data only. `people.limits` says which values are valid, `books.limits` counts, `proxy` refuses.
A limit belongs to a subject: the account that pays, or one key, member, project or end user of it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Unit: TypeAlias = Literal["requests", "tokens", "credits", "holds"]
"""What is counted. A request takes 1 of requests and of holds, its ceiling of tokens, its hold of
credits; `holds` are given back when it ends."""

MINUTE: Final = "minute"
"""The period of a rate: a bucket that holds the limit and fills within a minute."""
OPEN: Final = "open"
"""The period of what counts only while the request is in progress."""
EVER: Final = "ever"
"""The period of what never begins anew."""
WITHOUT_WINDOWS: Final = (MINUTE, OPEN, EVER)
CALENDAR: Final = ("day", "week", "month", "quarter")
"""Periods of the calendar, in the time zone of the account. Any other period is a number of days
from an anchor, such as `14 days`."""

COUNTED: Final[Mapping[str, tuple[Unit, str]]] = MappingProxyType(
    {
        "requests_per_minute": ("requests", MINUTE),
        "tokens_per_minute": ("tokens", MINUTE),
        "tokens_per_day": ("tokens", "day"),
        "credits_per_day": ("credits", "day"),
        "credits_per_week": ("credits", "week"),
        "credits_per_month": ("credits", "month"),
        "parallel_requests": ("holds", OPEN),
        "credits_total": ("credits", EVER),
    }
)
"""Limits that a hold takes from, each with its unit and its period."""

ENDPOINT_GROUPS: Final = (
    "audio",
    "chat",
    "completions",
    "containers",
    "content_provenance_checks",
    "conversations",
    "decisions",
    "embeddings",
    "files",
    "fine_tuning",
    "images",
    "models",
    "moderations",
    "responses",
    "skills",
    "uploads",
    "vector_stores",
)
"""Groups of endpoints: the first segments of their paths below `/v1`, as limits name them."""

ACCOUNT: Final = "account"
"""The subject of what binds every key of an account."""
KEY: Final = "key:"
"""How the subject of one key begins; its id follows."""
MEMBER: Final = "member:"
"""How the subject of a user's keys of a team begins; the user's id follows."""
PROJECT: Final = "project:"
"""How the subject of a project's keys begins; its id follows."""
END: Final = "end:"
"""How the subject of an end user begins; 32 hexadecimal digits follow."""


def subject_of_key(key_id: int) -> str:
    """Name a key as the subject of limits."""
    return f"{KEY}{key_id}"


def subject_of_member(user_id: int) -> str:
    """Name a member of a team as the subject of limits."""
    return f"{MEMBER}{user_id}"


def subject_of_project(project_id: int) -> str:
    """Name a project of a team as the subject of limits."""
    return f"{PROJECT}{project_id}"


@value
class Rules:
    """What one subject allows; None: everything."""

    subject: str
    credits_per_request: int | None = None
    """The most that one hold may take."""
    models: tuple[str, ...] | None = None
    """Globs in order, the first that matches decides; one that begins with `!` forbids."""
    endpoints: tuple[str, ...] | None = None
    """Groups of endpoints, such as `chat`."""
    addresses: tuple[str, ...] | None = None
    """Networks in CIDR notation."""
    service_tiers: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    """Types of tools that the upstream runs itself."""


@value
class EndUsers:
    """The people on whose behalf one key sends requests: each has these limits of their own."""

    named_by: str
    """What of a request names them: `header:` and the name of a header, `user`, or
    `safety_identifier`."""
    counted: tuple[tuple[str, int], ...]
    """Names of `COUNTED`, with the amounts."""
    rules: Rules | None
    """What is checked; its subject stands for any of them."""


@value
class Policy:
    """Everything that limits the requests of one key."""

    version: int
    """Changes with every change of it; the statement of a hold compares it with the key's."""
    subjects: tuple[str, ...]
    """Whose counts a hold takes from, the key's own first."""
    rules: tuple[Rules, ...]
    """What is checked before a hold, the key's own first; only subjects that have some."""
    end_users: EndUsers | None = None
    """None: requests name nobody, or whom they name makes no difference."""
    end_user: str | None = None
    """Of one request: the end user whom it names, who is among the subjects."""

    def of_end_user(self, subject: str, rules: Rules | None) -> Policy:
        """The policy of a request that names an end user, whose counts it takes from as well."""
        bound = self.rules if rules is None else (*self.rules, rules)
        subjects = (*self.subjects, subject)
        return Policy(self.version, subjects, bound, self.end_users, subject)


@value
class LimitState:
    """A counted limit at one moment; to be shown, and to explain a refusal."""

    subject: str
    name: str
    """Of `COUNTED`, or of a budget."""
    unit: Unit
    period: str
    amount: int
    """The limit."""
    used: int
    """Of the period; of a rate: what the bucket has not regained yet, rounded up."""
    reserved: int
    """By requests in progress; of a rate 0, since they are in `used`."""
    resets_at: datetime | None
    """When all of it is available again; None: never by itself."""
    at: datetime
    """The moment, by the database's clock."""

    @property
    def spendable(self) -> int:
        """What a hold could take if no other request were in progress; never negative."""
        return self.amount if self.period == MINUTE else max(self.amount - self.used, 0)

    @property
    def remaining(self) -> int:
        """What a hold can take now; never negative."""
        return max(self.amount - self.used - self.reserved, 0)


class Room(NamedTuple):
    """What a limit leaves for requests or tokens, right after a hold took from it."""

    unit: Unit
    amount: int
    """The limit."""
    remaining: int
    """What the next hold can take at that moment; never negative."""
    reset_us: int
    """After how many microseconds all of it is available again."""

"""The data that the stages pass to each other: frozen, typed, free of I/O.

Amounts are integer credits, counts are integer tokens; nothing here is a float.
The words are those of `docs/words.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

from tokenbalance.model.estimates import Estimate, HostedCalls, Stored
from tokenbalance.model.limits import LimitState, Policy, Room, Rules
from tokenbalance.model.prices import (
    PLAIN,
    Conditions,
    Factors,
    Long,
    Peak,
    Quantities,
    Rates,
    Sides,
)
from tokenbalance.model.values import value

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

__all__ = [
    "CLI",
    "JSON_INTEGER_MAX",
    "OPENAI",
    "PLAIN",
    "SCOPES",
    "SERVER",
    "UNTRACED",
    "Actor",
    "Caller",
    "Charge",
    "Claim",
    "Conditions",
    "Document",
    "Estimate",
    "Factors",
    "Hold",
    "HostedCalls",
    "ImageRule",
    "Json",
    "KnownModel",
    "LimitState",
    "Long",
    "Model",
    "Peak",
    "Policy",
    "Purpose",
    "Quantities",
    "Rates",
    "Room",
    "Rules",
    "Scope",
    "Sides",
    "Stored",
    "Terms",
    "Trace",
    "UpstreamTraits",
    "Usage",
]

JSON_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

# A parsed JSON value. Recursive, so that a careless `document["x"]["y"]` does not type-check.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Document: TypeAlias = dict[str, Json]

Scope: TypeAlias = Literal["inference", "read", "manage"]
"""What an API key may be used for; `people.access` says what each allows."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""All scopes, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Tokens of one image at most: the larger of what `detail` may ask for."""

    low: int
    """With `detail: "low"`."""
    high: int
    """With any other detail, for an image of the worst size."""


@dataclass(frozen=True, slots=True)
class Model:
    """What bounds a request to one model, in tokens."""

    context: int
    """Input and output of one turn together."""
    maximum_output: int
    is_reasoning: bool
    image: ImageRule
    encoding: str | None
    """None: its vocabulary is not known, and no token of it is shorter than a byte."""
    overhead: int = 0
    """What the upstream adds to every prompt of this model by itself."""
    responses_overhead: int = 0
    """What `/responses` adds to a prompt by itself."""
    responses_tools_overhead: int = 0
    """What `/responses` adds where there are functions."""

    @property
    def is_foreign(self) -> bool:
        """It is not OpenAI's: neither its vocabulary nor its server's defaults are known."""
        return self.encoding is None


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of the file of model facts: what is known of the models with one beginning."""

    name: str
    """A model's name begins with it; of several rows the one with the longest name counts."""
    model: Model
    retires: dt.date | None = None
    """The day on which OpenAI shuts the model down; None if no day was announced."""


@dataclass(frozen=True, slots=True)
class UpstreamTraits:
    """The properties of the upstream that decide how a request is read and bounded."""

    is_openai: bool = True
    """It has OpenAI's rules and defaults; otherwise it is only compatible with OpenAI's API."""
    knows_openai_models: bool = True
    """A model with an OpenAI name is OpenAI's own, as behind a gateway."""
    default_output_limit: int | None = None
    """The output limit of requests that name none, in tokens; None: the model's own."""
    own_models: tuple[KnownModel, ...] = field(default=(), hash=False)
    """The operator's own rows of model facts, longest name first. Not hashed: the traits are part
    of a key that is looked up several times per request."""


OPENAI: Final = UpstreamTraits()


@value
class Caller:
    """Who sends a request and who pays for it: the account and the API key."""

    user_id: int | None
    """Who answers for the key; None: nobody, it is a service key of a team."""
    account_id: int
    key_id: int
    available: int
    """Credits that were available when the key was checked: a hint, never a guarantee."""
    is_superuser: bool = False
    """May manage other users."""
    signed_in: bool = False
    """Authenticated with a sign-in token, and so with a password, instead of an API key."""
    insufficient_status: int | None = None
    """The status of a request that the balance does not cover; None: the operator's setting."""
    limit: int = 0
    """The most credits that holds of the account could take in all at that moment."""
    balance: int = 0
    """The account's balance at that moment."""
    scopes: tuple[Scope, ...] = ()
    """What the key may be used for; means nothing where `signed_in`."""
    secret_sha256: bytes = field(default=b"", repr=False)
    """Of the secret that was shown: after a rotation it finds the key no more."""
    force_store_false: bool = False
    """Responses and chats are sent with `store: false`, whatever they ask for."""
    is_due: bool = False
    """A grant of the account has ended, or an allowance is due, and this is not entered yet."""
    policy: Policy | None = None
    """What limits its requests; None: nothing."""
    is_of_team: bool = False
    """The account is a team's: the key sees its own requests only, and manages nothing."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: the same in the ledger, the events and the security log."""

    name: str
    """Their e-mail at that time; `cli` for a command, `server` for the server itself."""
    user_id: int | None = None
    """None: a command or the server."""
    key_id: int | None = None
    """The API key they used; None: they signed in, or are no user."""
    address: str = ""
    """Their IP address; empty if there is none."""
    is_superuser: bool = False
    is_for_team: bool = False
    """What they change belongs to a team, and so to several users."""

    @property
    def for_team(self) -> Actor:
        """The same, changing what belongs to a team."""
        return replace(self, is_for_team=True)

    @property
    def is_privileged(self) -> bool:
        """Whether they may change what belongs to others: superusers, commands, the server."""
        return self.is_superuser or self.user_id is None


CLI: Final = Actor("cli")
SERVER: Final = Actor("server")


@value
class Purpose:
    """What a hold is placed for."""

    request_id: str
    endpoint: str
    model: str | None
    rates: Rates | None = None
    """What its usage will cost, even if the rate card changes later; None: a credit a token."""


@value
class Claim:
    """What a request needs its account to reserve."""

    wanted: int
    """Credits that cover it in any case."""
    minimum: int
    """Fewest credits with which it makes sense."""
    known_input: int = 0
    """Tokens that are charged if its process dies before it knows more: its input."""
    estimated_output: int = 0
    """Most tokens of all its choices together, as requested."""
    tokens: int = 0
    """What limits of tokens count: input and the most output; only where there is a policy."""

    @property
    def undivided(self) -> Claim:
        """The same claim, for all of it or nothing."""
        return Claim(self.wanted, self.wanted, self.known_input, self.estimated_output, self.tokens)


class Terms(NamedTuple):
    """What else a hold was placed with; with these it can be placed again as it was."""

    key_id: int
    endpoint: str
    model: str | None
    known_input: int = 0
    """As that of the claim."""
    estimated_output: int = 0
    """As that of the claim."""
    tokens: int = 0
    """As those of the claim; 0 where it took from no limit."""
    limit_ids: tuple[int, ...] | None = None
    """The limits that it took from; None: none."""


@value
class Hold:
    """Credits reserved for one request."""

    request_id: str
    account_id: int
    amount: int
    rates: Rates | None = None
    """The rates of its purpose."""
    terms: Terms | None = field(default=None, compare=False)
    """None: it was read from the books, so these have it."""
    is_plain: bool = field(default=False, compare=False)
    """It took from no limit. False: it did, or that is not known here."""
    rooms: tuple[Room, ...] = field(default=(), compare=False)
    """What limits leave for requests and for tokens: the tightest of each, if there is one."""


_NOTHING_USED: Final[Mapping[str, int]] = MappingProxyType({})


@value
class Usage:
    """What one request used, as reported by the upstream, or counted where it reports nothing."""

    quantities: Mapping[str, int] = field(hash=False)
    """Numbers by kind, read-only and without zeros. `input` and `output` contain their other kinds,
    such as `cached_input` and `reasoning`; `books.pricing.units` has the kinds."""
    total: int = 0
    """The upstream's own `total_tokens`, input + output where it reports none; with the tokens of
    second bills."""
    estimated: bool = False
    """True when the upstream reported nothing usable and tokens were counted instead."""

    def __init__(
        self,
        quantities: Mapping[str, int] = _NOTHING_USED,
        total: int = 0,
        estimated: bool = False,  # noqa: FBT001, FBT002 - a field like the others
    ) -> None:
        """Keep a copy of the quantities, without zeros."""
        # Written out: one is made for every request, and a generated one takes twice as long.
        used = dict(quantities)
        if not all(used.values()):
            used = {kind: number for kind, number in used.items() if number}
        object.__setattr__(self, "quantities", MappingProxyType(used))
        object.__setattr__(self, "total", total)
        object.__setattr__(self, "estimated", estimated)

    @classmethod
    def counted(cls, inputs: int, outputs: int) -> Usage:
        """The usage of a request whose tokens were counted here."""
        return cls({"input": inputs, "output": outputs}, inputs + outputs, estimated=True)

    @property
    def input(self) -> int:
        """Tokens of every kind of input together."""
        return self.quantities.get("input", 0)

    @property
    def output(self) -> int:
        """Tokens of every kind of output together."""
        return self.quantities.get("output", 0)

    def of(self, kind: str) -> int:
        """Tokens of one kind; 0 for a kind that was not used."""
        return self.quantities.get(kind, 0)


class Trace(NamedTuple):
    """How a request went, as it is kept with its hold; None: not known, or there was none.

    A tuple, since its members are parameters of the statements that end a hold, in this order.
    """

    upstream_status: int | None = None
    """Of the upstream's response."""
    error_code: str | None = None
    """The upstream's `error.code`, or its type; without a status, our own code for what failed."""
    upstream_request_id: str | None = None
    """The upstream's `x-request-id`."""
    first_byte_ms: int | None = None
    """From the arrival of the request here to that of the head of the upstream's response."""
    total_ms: int | None = None
    """From the arrival of the request here to the end of its hold, right before its commit."""
    streamed: bool | None = None
    """Whether the client asked for a stream."""
    output_cap: int | None = None
    """The output limit that was sent upstream, in tokens of one choice."""
    capped: bool | None = None
    """Whether that limit is as low as it is because the balance did not cover more."""


UNTRACED: Final = Trace()
"""Of a request that another process ended: nobody knows how it went."""


@value
class Charge:
    """What a settled request cost, and the account right after it."""

    amount: int
    balance: int
    held: int

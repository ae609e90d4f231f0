"""The data that the stages pass to each other: frozen, typed, free of I/O.

Amounts are integer credits, counts are integer tokens; nothing here is a float.
The words are those of `docs/words.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request and who pays for it: the account and the API key."""

    user_id: int
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

    @property
    def is_privileged(self) -> bool:
        """Whether they may change what belongs to others: superusers, commands, the server."""
        return self.is_superuser or self.user_id is None


CLI: Final = Actor("cli")
SERVER: Final = Actor("server")


class Peak(NamedTuple):
    """The highest rate that tokens of one side of a request may have, in nano-credits."""

    text: int
    """Where everything is text."""
    media: int
    """Where audio and images are possible too."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one unit of each kind costs for one model, in nano-credits (10**-9): exact integers.

    Built by `books.pricing.rates`, which fills in what a card leaves out. Where None stands for
    rates, every token is one credit.
    """

    nano: Mapping[str, int] = field(hash=False)
    """By kind, for every kind. That of `request` is for once, if anything was used."""
    text: str = field(repr=False)
    """What is stored with a hold: JSON, credits as exact decimals by kind."""
    sides: tuple[tuple[str, tuple[str, ...]], ...] = field(compare=False, repr=False)
    """Input and output, each with the kinds that it divides into, in the order of division."""
    input_peak: Peak = field(compare=False, repr=False)
    output_peak: Peak = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HostedCalls:
    """How calls of tools that the upstream runs itself add to the input of a request.

    After each call the model reads everything again: the input so far and the result of the call.
    """

    first_turn: int
    """Tokens that the model reads before any call."""
    growth: int
    """Most tokens that a call adds to every later turn."""
    context: int
    """Most tokens of one turn."""
    most: int
    """Calls allowed for."""
    fewest: int
    """Fewest calls with which the request makes sense."""
    asked: int | None
    """The client's own limit, which the request already contains."""

    def input_tokens(self, calls: int) -> int:
        """Most tokens that all turns together read."""
        growing = min(max(self.context - self.first_turn, 0) // self.growth, calls)
        total = (growing + 1) * self.first_turn + self.growth * growing * (growing + 1) // 2
        # A turn reads no more than the window, unless the first one does already.
        return total + (calls - growing) * max(self.context, self.first_turn)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The ceiling of what a request may cost, in tokens."""

    input_tokens: int
    """Never below what the upstream will report for text; with hosted calls, of all turns."""
    choices: int = 1
    """How many outputs share the input: n, best_of, times the number of prompts."""
    output_cap: int = 0
    """Most output tokens of one choice; 0 where the endpoint produces none."""
    output_minimum: int = 0
    """Fewest output tokens of one choice that the upstream accepts as a limit."""
    cap_fields: tuple[str, ...] = ()
    """The request fields that set the cap; empty where there is no output to cap."""
    tells_cap: bool = False
    """The request must set the cap even where it is not lowered."""
    unasked_cap: int | None = None
    """The largest cap to set where the client set no limit and `output_cap` is not affordable: a
    limit above the upstream's own default would raise that default or fail. None: whatever is
    affordable."""
    calls: HostedCalls | None = None
    """The calls of hosted tools that the input allows for; None where there can be none."""
    counted: bool = False
    """True when `input_tokens` was counted, False when it is the bound by bytes."""
    predicted: int = 0
    """The part of `input_tokens` that the upstream may bill as output beyond the cap."""
    has_media: bool = False
    """True where anything other than text may be read or written."""

    def with_calls(self, number: int) -> Estimate:
        """The same estimate with at most `number` calls of hosted tools, if it has any."""
        if self.calls is None:
            return self
        calls = replace(self.calls, most=number)
        return replace(self, input_tokens=calls.input_tokens(number), calls=calls)

    @property
    def unasked(self) -> Estimate:
        """The same estimate with `unasked_cap` applied, where there is one."""
        if self.unasked_cap is None:
            return self
        return replace(self, output_cap=min(self.unasked_cap, self.output_cap))

    @property
    def known_input(self) -> int:
        """Input tokens that are read in any case, even if no hosted tool is called."""
        return self.input_tokens if self.calls is None else self.calls.first_turn

    @property
    def least_input(self) -> int:
        """Input tokens with the fewest calls with which the request makes sense."""
        return (
            self.input_tokens if self.calls is None else self.calls.input_tokens(self.calls.fewest)
        )

    @property
    def least_output(self) -> int:
        """The smallest output of a choice that makes sense; all of it where nothing caps it."""
        if not self.cap_fields:
            return self.output_cap
        return min(max(self.output_minimum, 1), self.output_cap)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a hold is placed for."""

    request_id: str
    endpoint: str
    model: str | None
    rates: Rates | None = None
    """What its usage will cost, even if the rate card changes later; None: a credit a token."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Hold:
    """Credits reserved for one request."""

    request_id: str
    account_id: int
    amount: int
    rates: Rates | None = None
    """The rates of its purpose."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request used, as reported by the upstream, or counted where it reports nothing."""

    quantities: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    """Tokens by kind, read-only and without zeros. `input` and `output` contain their other kinds,
    such as `cached_input` and `reasoning`; `books.pricing.units` has the kinds."""
    total: int = 0
    """The upstream's own `total_tokens`; input + output where it reports none."""
    estimated: bool = False
    """True when the upstream reported nothing usable and tokens were counted instead."""

    def __post_init__(self) -> None:
        """Keep a copy of the quantities, without zeros."""
        used = {kind: number for kind, number in self.quantities.items() if number}
        object.__setattr__(self, "quantities", MappingProxyType(used))

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


@dataclass(frozen=True, slots=True)
class Charge:
    """What a settled request cost, and the account right after it."""

    amount: int
    balance: int
    held: int

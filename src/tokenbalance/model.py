"""What travels between the stages: frozen, typed, free of I/O.

Amounts are integer credits, counts are integer tokens; nothing here is a float.
The words are those of the README's glossary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

JSON_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

# A parsed JSON value. Recursive, so that a careless `document["x"]["y"]` does not type-check.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Document: TypeAlias = dict[str, Json]


@dataclass(frozen=True, slots=True)
class UpstreamTraits:
    """What of the upstream decides how a request to it is read and bounded."""

    is_openai: bool = True
    """It has OpenAI's rules and defaults; else it only speaks OpenAI's language."""
    knows_openai_models: bool = True
    """A model with a name of OpenAI's is OpenAI's, as behind a gateway."""
    default_output_limit: int | None = None
    """The output limit of requests that name none, in tokens; None: the model's own."""


OPENAI: Final = UpstreamTraits()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and who pays: the account and API key of one request."""

    user_id: int
    account_id: int
    key_id: int
    available: int
    """Credits that were not held when the key was checked: a hint, never a guarantee."""
    is_superuser: bool = False
    """May manage others."""
    signed_in: bool = False
    """Came with a sign-in token, and so with a password, not with an API key."""
    insufficient_status: int | None = None
    """What a request of the key is answered that the balance does not cover; None: as the operator
    has chosen."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one unit of each kind costs for one model, in nano-credits (10**-9): exact integers.

    Built by `ledger.rates`, which fills in what a card leaves out. Where there are none (None),
    every token is one credit.
    """

    input: int
    cached_input: int
    output: int
    reasoning: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    request: int
    """Once, for a request that used anything."""
    text: str = field(compare=False, repr=False)
    """What a hold stores of them: JSON, credits as exact decimals by kind."""


@dataclass(frozen=True, slots=True)
class HostedCalls:
    """How calls of the tools that the upstream runs itself add to the input of a request.

    After each call the model reads everything again: what it had, and what the call brought.
    """

    first_turn: int
    """Tokens that it reads before any call."""
    growth: int
    """Tokens at most that a call adds to every later turn."""
    context: int
    """Tokens at most of one turn."""
    most: int
    """Calls allowed for."""
    fewest: int
    """Calls without which the request makes no sense."""
    asked: int | None
    """The client's own limit, which the upstream is told already."""

    def input_tokens(self, calls: int) -> int:
        """Tokens at most that all turns together read."""
        growing = min(max(self.context - self.first_turn, 0) // self.growth, calls)
        total = (growing + 1) * self.first_turn + self.growth * growing * (growing + 1) // 2
        # A turn cannot read more than the window, but it has read what it has.
        return total + (calls - growing) * max(self.context, self.first_turn)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The ceiling of what a request may cost, in tokens."""

    input_tokens: int
    """Never below what the upstream will report for text; with hosted calls, of all turns."""
    choices: int = 1
    """How many answers share the input: n, best_of, times the number of prompts."""
    output_cap: int = 0
    """Most output tokens of one choice; 0 where the endpoint produces none."""
    output_minimum: int = 0
    """Fewest output tokens of one choice that the upstream accepts as a limit."""
    cap_fields: tuple[str, ...] = ()
    """The fields that tell the upstream the cap; empty where there is no output to cap."""
    tells_cap: bool = False
    """The upstream has to be told the cap even where it is not lowered."""
    unasked_cap: int | None = None
    """Most output that the upstream is told where the client has named no limit and `output_cap`
    is not affordable: a limit that is larger than what it would do by itself raises or breaks that.
    None: whatever is affordable."""
    calls: HostedCalls | None = None
    """How many calls of hosted tools the input allows for; None where none can happen."""
    counted: bool = False
    """True when `input_tokens` was counted, False when it is the bound by bytes."""
    predicted: int = 0
    """Of `input_tokens`, those that the upstream may bill as output beyond the cap."""
    has_media: bool = False
    """True where something else than text may be read or written."""

    def with_calls(self, number: int) -> Estimate:
        """The same with so many calls of hosted tools at most; it has to have some."""
        if self.calls is None:
            return self
        calls = replace(self.calls, most=number)
        return replace(self, input_tokens=calls.input_tokens(number), calls=calls)

    @property
    def unasked(self) -> Estimate:
        """With no more output than the upstream is told where nobody has asked for a limit."""
        if self.unasked_cap is None:
            return self
        return replace(self, output_cap=min(self.unasked_cap, self.output_cap))

    @property
    def known_input(self) -> int:
        """Input tokens that are read whatever happens: hosted tools need not be called."""
        return self.input_tokens if self.calls is None else self.calls.first_turn

    @property
    def least_input(self) -> int:
        """Input tokens with the fewest calls that make sense."""
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
    """What its usage will cost, whatever the card says later; None: a credit a token."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request asks its account to reserve."""

    wanted: int
    """Credits that cover it whatever happens."""
    minimum: int
    """Credits without which it makes no sense."""
    known_input: int = 0
    """Tokens that it is charged if its process is gone before it knows better: its input."""
    estimated_output: int = 0
    """Tokens that all its choices together may be, as asked."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Credits reserved for one request."""

    request_id: str
    account_id: int
    amount: int
    rates: Rates | None = None
    """Those of its purpose."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, as the upstream reports them (or as counted, when it does not)."""

    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    total: int = 0
    """The upstream's own `total_tokens`; input + output where it names none."""
    estimated: bool = False
    """True when the upstream reported nothing usable and tokens were counted instead."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a settled request cost, and what that left."""

    amount: int
    balance: int
    held: int

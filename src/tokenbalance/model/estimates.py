"""The ceiling of what one request may use, in tokens and calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokenbalance.model.values import value

if TYPE_CHECKING:
    from tokenbalance.model.prices import Quantities


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
    uses: tuple[Quantities, ...] = ()
    """What else a call may use, one entry for each tool: a fee, or tokens of a second bill. A call
    is of one of them."""

    def input_tokens(self, calls: int) -> int:
        """Most tokens that all turns together read."""
        growing = min(max(self.context - self.first_turn, 0) // self.growth, calls)
        total = (growing + 1) * self.first_turn + self.growth * growing * (growing + 1) // 2
        # A turn reads no more than the window, unless the first one does already.
        return total + (calls - growing) * max(self.context, self.first_turn)


@value
class Stored:
    """What the model reads although a request does not show it, since the upstream stores it."""

    tokens: int | None = None
    """Tokens at most; None: nobody knows, so it may be all that the model can read."""
    of_all: bool = False
    """They are those of everything that the model reads at first, what is shown included."""


@value
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
    unreported: Quantities = ()
    """What the request uses in any case and no usage report has, such as the search of a chat."""
    assumed: int = 0
    """Tokens of the first turn that are in it only because nobody knows how much is stored."""

    def with_stored(self, stored: Stored, window: int) -> Estimate:
        """The same estimate for a request that also reads what is stored.

        Args:
            stored: that; it may contain images and audio, whatever the request shows.
            window: tokens at most of one turn. No turn is longer, unless what is shown is already.

        """
        shown = self._first_turn
        tokens = window if stored.tokens is None else stored.tokens
        first = max(shown, min(tokens if stored.of_all else shown + tokens, window))
        assumed = first - shown if stored.tokens is None else 0
        return replace(self._with_first_turn(first), has_media=True, assumed=assumed)

    @property
    def without_assumed(self) -> Estimate:
        """The same estimate as if nothing were stored where nobody knows how much is."""
        if not self.assumed:
            return self
        first = self._first_turn - self.assumed
        return replace(self._with_first_turn(first), assumed=0)

    @property
    def _first_turn(self) -> int:
        return self.input_tokens - self.predicted if self.calls is None else self.calls.first_turn

    def _with_first_turn(self, first: int) -> Estimate:
        calls = self.calls
        if calls is None:
            return replace(self, input_tokens=first + self.predicted)
        calls = replace(calls, first_turn=first)
        turns = calls.input_tokens(calls.most)
        return replace(self, input_tokens=turns + self.predicted, calls=calls)

    more: Quantities = ()
    """What else it may use at most, by kind: seconds, characters, images, and second bills."""

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

"""What tokens cost in credits. One credit is one token, as the upstream reports it.

Every conversion between tokens and credits is here; nothing else may assume a rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenbalance.model import Estimate, Usage


def charge_for(usage: Usage) -> int:
    """Credits for what was used."""
    return usage.total


def wanted_for(estimate: Estimate) -> int:
    """Credits that cover the request whatever happens."""
    return max(estimate.input_tokens + estimate.choices * estimate.output_cap, 1)


def minimum_for(estimate: Estimate) -> int:
    """Credits without which the request makes no sense: its input and the smallest output.

    Where the output cannot be capped this is all of it.
    """
    if estimate.cap_field is None:
        return wanted_for(estimate)
    output = min(max(estimate.output_minimum, 1), estimate.output_cap)
    return max(estimate.input_tokens + estimate.choices * output, 1)


def cap_within(estimate: Estimate, amount: int) -> int:
    """Output tokens of each choice that `amount` credits pay for, the input paid first."""
    affordable = (amount - estimate.input_tokens) // estimate.choices
    return min(affordable, estimate.output_cap)

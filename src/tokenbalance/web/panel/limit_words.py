"""Limits and periods in words, as pages show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.limit_rows import BUDGET

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_WORDS: Final[Mapping[str, str]] = {
    "requests_per_minute": "Requests per minute",
    "tokens_per_minute": "Tokens per minute",
    "tokens_per_day": "Tokens per day",
    "credits_per_day": "Credits per day",
    "credits_per_week": "Credits per week",
    "credits_per_month": "Credits per month",
    "parallel_requests": "Parallel requests",
    "credits_total": "Total credits",
    "credits_per_request": "Credits per request",
    "models": "Models",
    "endpoints": "Endpoints",
    "addresses": "Addresses",
    "service_tiers": "Service tiers",
    "tools": "Hosted tools",
}
LIMIT_HINTS: Final[Mapping[str, str]] = {
    "models": "Patterns separated by commas, the first that matches decides: !gpt-6-sol*, gpt-6-*",
    "endpoints": "Such as chat, responses, embeddings",
    "addresses": "IP addresses and networks, such as 192.0.2.0/24",
    "service_tiers": "Such as default, flex",
    "tools": "Such as web_search; [] for none",
}


def limit_name(name: str) -> str:
    """Return the words for a limit, or the name of a budget."""
    return LIMIT_WORDS.get(name) or f"Budget {name.removeprefix(BUDGET)}"

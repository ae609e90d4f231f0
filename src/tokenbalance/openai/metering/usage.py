"""Reads a usage object, and finds one at the end of a document without parsing the rest.

Owns what counts as a valid usage report of the upstream. It must never guess: a report that is not
clearly valid counts as missing, and the caller counts tokens instead. `numbers` lists every number
that a report may have.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import orjson

from tokenbalance.model import Document, Json, Usage
from tokenbalance.openai.ceilings.media import TOKENS_PER_SECOND
from tokenbalance.openai.metering.bills import (
    UNKNOWN_TIER,
    bills_of,
    count_of,
    second_total,
    tier_kind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CANDIDATES_MAX = 8
"""Occurrences of a key that are tried from the end before the search gives up."""

USAGE_KEY = b'"usage"'
TIER_KEY = b'"service_tier"'


class Parts(NamedTuple):
    """The kinds that an input and an output divide into.

    Each by the member of the details of its side that has it.
    """

    input: Mapping[str, str]
    output: Mapping[str, str]


PARTS: Final = Parts(
    input={
        "cached_tokens": "cached_input",
        "audio_tokens": "audio_input",
        "image_tokens": "image_input",
        "cache_write_tokens": "cache_write",
    },
    output={
        "reasoning_tokens": "reasoning",
        "audio_tokens": "audio_output",
        "image_tokens": "image_output",
    },
)

_NOTHING: Final[Document] = {}
_SECONDS_MAX: Final = 10**7
"""A longer recording is a mistake: it would have 115 days."""
_SIDE_OF: Final = {"audio_input": "input", "audio_output": "output", "image_output": "output"}


def read_usage(value: Json, parts: Parts = PARTS, response: Document = _NOTHING) -> Usage | None:
    """Read any usage object that the API reports, in tokens.

    Args:
        value: the object.
        parts: where it has the kinds that a side divides into.
        response: the document that it is a member of, for what is billed beside it (`bills`).

    The input is required. A missing output is 0 (embeddings have none), a missing total is
    input + output. A total is authoritative, even if it is more than that sum; a report with a
    smaller total contradicts itself, and is invalid. So is a report with an input, output or total
    that is not a count; a broken detail (or one larger than what it is part of) is 0, since it only
    divides a sum.

    Zeros without a total mean that the server did not count, and would make the response free.
    Whether zeros with a total of 0 are plausible depends on the rest of it: `outcome.may_be_free`.
    """
    if not isinstance(value, dict):
        return None
    # Each counter has two names: one in chat, completions and embeddings, one in responses.
    inputs = count_of(_either(value, "prompt_tokens", "input_tokens"))
    outputs = count_of(_either(value, "completion_tokens", "output_tokens", missing=0))
    if inputs is None or outputs is None:
        return None
    total = count_of(value.get("total_tokens", inputs + outputs))
    if total is None or total < inputs + outputs or (total == 0 and "total_tokens" not in value):
        return None
    quantities = {"input": inputs, "output": outputs}
    details = _either(value, "prompt_tokens_details", "input_tokens_details")
    if details is None:
        # What transcriptions call it.
        details = value.get("input_token_details")
    if isinstance(details, dict):
        _add_parts(quantities, details, parts.input, inputs)
        if "cache_write" in quantities:
            _divide_cache_writes(quantities, details)
    details = _either(value, "completion_tokens_details", "output_tokens_details")
    if isinstance(details, dict):
        _add_parts(quantities, details, parts.output, outputs)
    if response:
        total += _add_bills(quantities, total, response)
    return Usage(quantities, total)


def read_media_usage(
    value: Json, undivided: tuple[str, ...], response: Document = _NOTHING
) -> Usage | None:
    """Read a usage object of audio or images: in seconds, or in tokens.

    Args:
        value: the object.
        undivided: the kinds that the tokens of a side are where a report does not divide it.
        response: as for `read_usage`.

    Seconds are rounded up, once. The tokens that they stand for are beside them; what is charged is
    decided by the rates.
    """
    if isinstance(value, dict) and "seconds" in value and "input_tokens" not in value:
        return seconds_used(value["seconds"])
    usage = read_usage(value, response=response)
    if usage is None or not undivided or not isinstance(value, dict):
        return usage
    more = {
        kind: usage.of(side)
        for kind in undivided
        if usage.of(side := _SIDE_OF[kind]) and not _is_divided(value, side)
    }
    return replace(usage, quantities={**usage.quantities, **more})


def seconds_used(value: Json) -> Usage | None:
    """Return the usage of so many seconds of audio; None if that is no such number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value <= _SECONDS_MAX:
        return None
    seconds = math.ceil(value)
    heard = TOKENS_PER_SECOND * seconds
    return Usage({"input": heard, "audio_input": heard, "second_audio": seconds}, heard)


def sum_of(one: Usage, other: Usage) -> Usage:
    """Add two usages, those of two images of a stream."""
    quantities = dict(one.quantities)
    for kind, number in other.quantities.items():
        quantities[kind] = quantities.get(kind, 0) + number
    return replace(one, quantities=quantities, total=one.total + other.total)


def _is_divided(value: Document, side: str) -> bool:
    return any(
        isinstance(value.get(name), dict) and value[name]
        for name in (f"{side}_tokens_details", f"{side}_token_details")
    )


def trailing_usage(
    text: bytes, opening: bytes = b"{", key: bytes = USAGE_KEY
) -> tuple[int, Document] | None:
    """Find the last `"usage"` member of the document whose end `text` is.

    Returns its offset in `text` and the members from there to the end, or None. `opening` is what
    the members are nested in: `{` for the document itself, `{"response":{` for one level below.
    Another `key` finds that member instead.

    If the opening followed by the rest parses, the rest closes exactly what the opening opens, so
    in a valid document the member is at that depth. A quote inside a JSON string is escaped, so
    `"usage"` without a backslash before it is not inside a string.
    """
    offset = len(text)
    for _ in range(CANDIDATES_MAX):
        offset = text.rfind(key, 0, offset)
        if offset < 0:
            return None
        if text[offset - 1 : offset] == b"\\":
            continue
        try:
            members = cast("Json", orjson.loads(opening + text[offset:]))
        except orjson.JSONDecodeError:
            continue
        if isinstance(members, dict):
            return offset, members
    return None


def _either(value: Document, name: str, other: str, missing: Json = None) -> Json:
    return value[name] if name in value else value.get(other, missing)


def _add_parts(
    quantities: dict[str, int], details: Document, parts: Mapping[str, str], whole: int
) -> None:
    for member, count in details.items():
        # Most are zero.
        if count and type(count) is int and 0 < count <= whole and member in parts:
            quantities[parts[member]] = count


def _divide_cache_writes(quantities: dict[str, int], input_details: Document) -> None:
    """Divide what was written into the cache by how long it is kept there.

    Without a division it is kept for 30 minutes. What a division does not have there was written
    for longer, even if it says for how long under a name that is unknown here.
    """
    details = input_details.get("cache_write_tokens_details")
    if not isinstance(details, dict):
        return
    written = quantities["cache_write"]
    shortly = min(count_of(details.get("ttl_30m_tokens")) or 0, written)
    quantities |= {"cache_write": shortly, "cache_write_12h": written - shortly}


_BILLED: Final = frozenset({"output", "svg_usage", "tool_usage"})


def _add_bills(quantities: dict[str, int], total: int, response: Document) -> int:
    """Add what is billed beside a usage of `total` tokens; return the tokens of second bills."""
    tier = response.get("service_tier")
    if tier and total:
        quantities[tier_kind(tier) if isinstance(tier, str) else UNKNOWN_TIER] = 1
    if not response.keys() & _BILLED:
        return 0
    bills = bills_of(response)
    quantities |= bills
    return second_total(bills) if bills else 0

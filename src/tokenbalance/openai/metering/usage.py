"""Reads a usage object, and finds one at the end of a document without parsing the rest.

Owns what counts as a valid usage report of the upstream. It must never guess: a report that is not
clearly valid counts as missing, and the caller counts tokens instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

import orjson

from tokenbalance.model import Document, Json, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT_MAX = 2**53
"""Larger JSON numbers are not exact everywhere; no request has ever come near."""

CANDIDATES_MAX = 8
"""Occurrences of `"usage"` that are tried from the end before the search gives up."""

_KEY = b'"usage"'

# The same counter under its two names: chat, completions and embeddings; responses.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


class Parts(NamedTuple):
    """Where a report has the kinds that an input and an output divide into.

    Each is a member of the details of its side, by the name of its kind.
    """

    input: Mapping[str, str]
    output: Mapping[str, str]


PARTS: Final = Parts(
    input={
        "cached_input": "cached_tokens",
        "audio_input": "audio_tokens",
        "image_input": "image_tokens",
    },
    output={
        "reasoning": "reasoning_tokens",
        "audio_output": "audio_tokens",
        "image_output": "image_tokens",
    },
)


def read_usage(value: Json, parts: Parts = PARTS) -> Usage | None:
    """Read any usage object that the API reports, in tokens.

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
    inputs = _count(_either(value, _INPUT))
    outputs = _count(_either(value, _OUTPUT, missing=0))
    if inputs is None or outputs is None:
        return None
    total = _count(value.get("total_tokens", inputs + outputs))
    if total is None or total < inputs + outputs or (total == 0 and "total_tokens" not in value):
        return None
    quantities = {"input": inputs, "output": outputs}
    _add_parts(quantities, _details(value, _INPUT_DETAILS), parts.input, inputs)
    _add_parts(quantities, _details(value, _OUTPUT_DETAILS), parts.output, outputs)
    return Usage(quantities, total)


def trailing_usage(text: bytes, opening: bytes = b"{") -> tuple[int, Document] | None:
    """Find the last `"usage"` member of the document whose end `text` is.

    Returns its offset in `text` and the members from there to the end, or None. `opening` is what
    the members are nested in: `{` for the document itself, `{"response":{` for one level below.

    If the opening followed by the rest parses, the rest closes exactly what the opening opens, so
    in a valid document the member is at that depth. A quote inside a JSON string is escaped, so
    `"usage"` without a backslash before it is not inside a string.
    """
    offset = len(text)
    for _ in range(CANDIDATES_MAX):
        offset = text.rfind(_KEY, 0, offset)
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


def _either(value: Document, names: tuple[str, str], missing: Json = None) -> Json:
    for name in names:
        if name in value:
            return value[name]
    return missing


def _count(value: Json) -> int | None:
    # bool is an int in Python, but not a count.
    return value if type(value) is int and 0 <= value <= COUNT_MAX else None


def _details(value: Document, names: tuple[str, str]) -> Document:
    details = _either(value, names)
    return details if isinstance(details, dict) else {}


def _add_parts(
    quantities: dict[str, int], details: Document, members: Mapping[str, str], whole: int
) -> None:
    if not details:
        return
    for kind, member in members.items():
        count = details.get(member)
        if type(count) is int and 0 < count <= whole:
            quantities[kind] = count

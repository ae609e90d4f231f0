"""Every number that the installed SDK knows below a usage is a kind, or has a reason to be none.

The walk takes apart the types of what the open operations return. It fails where an SDK has a new
number that nobody has decided about, which OpenAI may bill and this would give away.
"""

from __future__ import annotations

import csv
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_args, get_origin

import openai
import pytest
from openai.types import (
    ContainerCreateResponse,
    ContentProvenanceCheck,
    CreateEmbeddingResponse,
    Decision,
    ImageEditStreamEvent,
    ImageGenStreamEvent,
    ImagesResponse,
    ModerationCreateResponse,
    VectorStoreSearchResponse,
)
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionStreamEvent,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
    Voice,
)
from openai.types.beta import BetaResponse, BetaResponseStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion import Completion
from openai.types.fine_tuning.alpha import GraderRunResponse
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from tests.support.recordings import REAL
from tokenbalance.books.pricing.units import UNITS, is_fee
from tokenbalance.openai import OPERATIONS
from tokenbalance.openai.metering.numbers import KINDS, NO_KIND
from tokenbalance.openai.metering.usage import read_media_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document

FIELDS_CSV: Final = REAL / "openai-usage-fields.csv"
RETURNED: Final[dict[str, tuple[Any, ...]]] = {
    "/audio/speech": (),
    "/audio/transcriptions": (
        Transcription,
        TranscriptionDiarized,
        TranscriptionVerbose,
        TranscriptionStreamEvent,
    ),
    "/audio/translations": (Translation, TranslationVerbose),
    "/audio/voices": (Voice,),
    "/chat/completions": (ChatCompletion, ChatCompletionChunk),
    "/completions": (Completion,),
    "/containers": (ContainerCreateResponse,),
    "/content_provenance_checks": (ContentProvenanceCheck,),
    "/decisions": (Decision,),
    "/embeddings": (CreateEmbeddingResponse,),
    "/fine_tuning/alpha/graders/run": (GraderRunResponse,),
    "/images/edits": (ImagesResponse, ImageEditStreamEvent),
    "/images/generations": (ImagesResponse, ImageGenStreamEvent),
    "/moderations": (ModerationCreateResponse,),
    "/responses": (Response, ResponseStreamEvent),
    "/responses?beta=true": (BetaResponse, BetaResponseStreamEvent),
    "/vector_stores/{vector_store_id}/search": (VectorStoreSearchResponse,),
}
"""What the operations that are open return, by path."""


class Number(NamedTuple):
    """A number below a usage."""

    owner: str
    """The type that the usage has, as the data beside the checkout names it."""
    path: str
    """From the member that is the usage on: `usage.input_tokens`."""


def parts_of(hint: Any) -> Iterator[Any]:
    """A type without unions, lists and what only says how it is used."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from parts_of(arguments[0])
    # `X | Y`, or the older name that the SDK writes.
    elif origin in {UnionType, list} or str(origin) == "typing.Union":
        for argument in arguments:
            yield from parts_of(argument)
    elif origin is dict:
        yield from parts_of(arguments[1])
    else:
        yield hint


def members_of(hint: Any) -> Iterator[tuple[str, Any]]:
    for part in parts_of(hint):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from ((name, field.annotation) for name, field in part.model_fields.items())


def usages_in(hint: Any, seen: set[type]) -> Iterator[tuple[str, Any]]:
    """Members that are a usage, anywhere in a type: their names and types."""
    for part in parts_of(hint):
        if not isinstance(part, type) or part in seen or not issubclass(part, BaseModel):
            continue
        seen.add(part)
        for name, member in members_of(part):
            if name.endswith("usage"):
                yield name, member
            else:
                yield from usages_in(member, seen)


def numbers_in(name: str, hint: Any) -> Iterator[str]:
    """The paths of all numbers in a member."""
    if any(part in {int, float} for part in parts_of(hint)):
        yield name
    for inner, member in members_of(hint):
        yield from (f"{name}.{path}" for path in numbers_in(inner, member))


def named(owner: type) -> str:
    return f"{owner.__module__.rpartition('.')[2]}.{owner.__name__}"


@cache
def reported() -> frozenset[Number]:
    """Every number that an open operation may report."""
    seen: set[type] = set()
    return frozenset(
        Number(named(owner), path)
        for types in RETURNED.values()
        for returned in types
        for name, usage in usages_in(returned, seen)
        for owner in parts_of(usage)
        if owner is not type(None)
        for path in numbers_in(name, owner)
    )


def test_every_open_operation_is_walked() -> None:
    charged = {one.path for one in OPERATIONS if one.charged}
    assert charged <= RETURNED.keys()
    assert RETURNED.keys() - charged == {"/moderations"}


def test_every_number_of_the_sdk_is_a_kind_or_has_a_reason() -> None:
    paths = {number.path for number in reported()}
    undecided = paths - KINDS.keys() - NO_KIND.keys()
    assert undecided == set(), f"openai {openai.__version__} reports more: is it billed?"
    assert KINDS.keys() & NO_KIND.keys() == set()
    gone = (KINDS.keys() | NO_KIND.keys()) - paths
    assert gone == set(), f"openai {openai.__version__} reports these no longer"
    assert len(paths) > 30


def test_a_new_number_would_be_noticed() -> None:
    class Details(BaseModel):
        dreamed_tokens: int | None = None

    class Usage(BaseModel):
        input_tokens: int
        details: list[Details]
        price: float

    class Returned(BaseModel):
        dream_usage: Usage | None = None

    ((name, usage),) = usages_in(Returned, set())
    assert set(numbers_in(name, usage)) == {
        "dream_usage.input_tokens",
        "dream_usage.details.dreamed_tokens",
        "dream_usage.price",
    }


@pytest.mark.skipif(not FIELDS_CSV.is_file(), reason="the list of usage fields is not at hand")
def test_every_listed_number_of_an_open_operation_is_decided_about() -> None:
    by_owner: dict[str, set[str]] = {}
    for owner, path in reported():
        by_owner.setdefault(owner, set()).add(path)
    with FIELDS_CSV.open() as lines:
        rows = [(row["type"].split(" = "), row["field"]) for row in csv.DictReader(lines)]
    covered = 0
    for owners, field in rows:
        for owner in by_owner.keys() & set(owners):
            (name,) = {path.partition(".")[0] for path in by_owner[owner]}
            assert f"{name}.{field}" in KINDS.keys() | NO_KIND.keys(), (owner, field)
            covered += 1
    assert covered >= 40
    listed = {owner for owners, _ in rows for owner in owners}
    # A run of a grader reports a plain number.
    assert by_owner.keys() - {"builtins.int"} <= listed


def test_every_kind_of_a_number_is_one_that_is_charged() -> None:
    counted = {kind for kind in (*UNITS.tokens, "second_audio") if kind not in NOT_REPORTED}
    assert counted == {kind for kind in KINDS.values() if not is_fee(kind)}


NOT_REPORTED: Final = {
    "cached_image_input": "no type of the image endpoints; the image tool has its own kind",
}


@pytest.mark.parametrize(("path", "kind"), KINDS.items(), ids=list(KINDS))
def test_each_number_counts_as_the_kind_that_is_listed(path: str, kind: str) -> None:
    more, less = response_with(path, 64), response_with(path, 32)
    assert quantity(more, kind) - quantity(less, kind) == 32
    assert quantity(less, kind) > 0


def quantity(response: Document, kind: str) -> int:
    usage = read_media_usage(response["usage"], (), response)
    assert usage is not None
    return usage.of(kind)


def response_with(path: str, number: int) -> Document:
    """A response with a number at a path, and around it what a number there is part of."""
    usage, *members = path.split(".")
    report: Any = {"input_tokens": 1_000, "output_tokens": 1_000}
    if members == ["seconds"]:
        report = {"type": "duration"}
    if any(name.startswith(("prompt", "completion")) for name in members):
        report = {"prompt_tokens": 1_000, "completion_tokens": 1_000}
    if members[0] == "image_gen":
        report = {"image_gen": {**report, "cached_tokens": 500}}
    if path.endswith("12h_tokens"):
        # Others must know of all that were written.
        report["input_tokens_details"] = {"cache_write_tokens": number}
    elif "ttl" in path:
        report["input_tokens_details"] = {"cache_write_tokens": 500}
    at = report
    for name in members[:-1]:
        at = at.setdefault(name, {})
    at[members[-1]] = number
    plain: Document = {"input_tokens": 1_000, "output_tokens": 1_000}
    if usage == "usage":
        return {"usage": report}
    if usage == "svg_usage":
        return {"usage": plain, "output": [{"type": "image_generation_call", usage: report}]}
    return {"usage": plain, usage: report}

"""Every string that the installed SDK can put into a request is counted, or known to cost nothing.

The walk takes the SDK's own types apart: wherever one has a string, a request is made that has a
long text there and is otherwise as small as it can be, and its ceiling has to rise by that text.
What costs nothing is written down here, with the reason; so is each field of a request.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin

import openai.types.chat as chat_types
import openai.types.responses as responses_types
import pytest
import typing_extensions
from openai.types import (
    completion_create_params,
    embedding_create_params,
    moderation_create_params,
)
from openai.types.beta import response_create_params as beta_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from typing_extensions import get_type_hints, is_typeddict

from tokenbalance.errors import ObjectNotFound, ProxyError
from tokenbalance.model import OPENAI, UpstreamTraits
from tokenbalance.openai import estimate as estimating
from tokenbalance.openai import find_operation
from tokenbalance.openai.ceilings import chat, completions, embeddings, responses
from tokenbalance.openai.objects.refusal import references_of
from tokenbalance.openai.tokens import count_tokens

if TYPE_CHECKING:
    import tiktoken

    from tokenbalance.openai.operation import Operation

TEXT = "alpha beta gamma delta " * 500
TOKENS = 2_000
COMPATIBLE = UpstreamTraits(is_openai=False, knows_openai_models=False)
CHATS = find_operation("POST", b"/chat/completions")
COMPLETIONS = find_operation("POST", b"/completions")
EMBEDDINGS = find_operation("POST", b"/embeddings")
RESPONSES = find_operation("POST", b"/responses")

Place: TypeAlias = tuple[str, Callable[[str], Any]]
"""Where a string may stand in a value of some type, and how to make one that has a text there."""


# The walk.


def bare(hint: Any) -> Any:
    """A type without what only says how it is used."""
    wrappers = {typing_extensions.Required, typing_extensions.NotRequired, typing.Annotated}
    while get_origin(hint) in wrappers:
        hint = get_args(hint)[0]
    return hint


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union, null aside."""
    # `X | Y`, or the older name that the SDK writes.
    if get_origin(hint) is not UnionType and str(get_origin(hint)) != "typing.Union":
        return ()
    return tuple(each for each in get_args(hint) if each is not type(None))


def element_of(hint: Any) -> Any:
    """The type of what is in a list; None where it is no list."""
    origin: Any = get_origin(hint)
    return get_args(hint)[0] if origin in {list, Iterable, Sequence} else None


@cache
def members_of(typed: Any) -> dict[str, Any]:
    return get_type_hints(typed)


def required_of(typed: Any) -> list[str]:
    marked = get_type_hints(typed, include_extras=True)
    is_total = typed.__required_keys__
    return [
        name
        for name, hint in marked.items()
        if get_origin(hint) is typing_extensions.Required
        or (name in is_total and get_origin(hint) is not typing_extensions.NotRequired)
    ]


def smallest(hint: Any) -> Any:
    """The smallest value of a type, in which every text is one letter."""
    hint = bare(hint)
    if choices := choices_of(hint):
        return smallest(choices[0])
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if is_typeddict(hint):
        return {name: smallest(members_of(hint)[name]) for name in required_of(hint)}
    if (element := element_of(hint)) is not None:
        return [smallest(element)]
    plain: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True}
    return plain.get(hint, {})


def places(hint: Any, within: tuple[Any, ...] = ()) -> Iterator[Place]:
    """Every place for a string in a type; what a type holds of itself is looked at once."""
    hint = bare(hint)
    if hint is str:
        yield "", lambda text: text
    elif hint is object:
        yield ".*", lambda text: {"x": text}
    elif choices := choices_of(hint):
        for choice in choices:
            name = f"<{choice.__name__}>" if is_typeddict(bare(choice)) else ""
            yield from deeper(name, places(choice, within), lambda value: value)
    elif is_typeddict(hint) and hint not in within:
        for name, member in members_of(hint).items():
            yield from deeper(f".{name}", places(member, (*within, hint)), put_into(hint, name))
    elif get_origin(hint) is dict:
        yield from deeper(".*", places(get_args(hint)[1], within), lambda value: {"x": value})
    elif (element := element_of(hint)) is not None:
        yield from deeper("[]", places(element, within), lambda value: [value])


def deeper(path: str, inner: Iterator[Place], wrap: Callable[[Any], Any]) -> Iterator[Place]:
    for rest, build in inner:
        yield path + rest, lambda text, build=build: wrap(build(text))


def put_into(typed: Any, name: str) -> Callable[[Any], Any]:
    base = smallest(typed)
    return lambda value: {**base, name: value}


# Requests that have a text in one place.


def in_field(params: Any, base: dict[str, Any], without: frozenset[str]) -> Iterator[Place]:
    for name, hint in members_of(params).items():
        if name not in without:
            yield from deeper(name, places(hint), lambda value, name=name: {**base, name: value})


def in_one_of(union: Any, wrap: Callable[[Any], Any]) -> Iterator[Place]:
    for each in choices_of(union):
        yield from deeper(each.__name__, places(each), wrap)


CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "x"}]}
RESPONSE = {"model": "gpt-5", "input": "x"}


def chat_places() -> Iterator[Place]:
    return chain(
        in_one_of(
            chat_types.ChatCompletionMessageParam,
            lambda message: CHAT | {"messages": [*CHAT["messages"], message]},
        ),
        in_field(
            chat_create_params.CompletionCreateParamsNonStreaming,
            CHAT,
            frozenset({"model", "messages"}),
        ),
    )


def response_places() -> Iterator[Place]:
    return chain(
        in_one_of(
            responses_types.ResponseInputItemParam,
            lambda item: RESPONSE | {"input": [{"role": "user", "content": "x"}, item]},
        ),
        in_one_of(responses_types.ToolParam, lambda tool: RESPONSE | {"tools": [tool]}),
        in_field(
            response_create_params.ResponseCreateParamsNonStreaming,
            RESPONSE,
            frozenset({"model", "input", "tools"}),
        ),
    )


def completion_places() -> Iterator[Place]:
    return in_field(
        completion_create_params.CompletionCreateParamsNonStreaming,
        {"model": "gpt-3.5-turbo-instruct", "prompt": "x"},
        frozenset({"model"}),
    )


def embedding_places() -> Iterator[Place]:
    return in_field(
        embedding_create_params.EmbeddingCreateParams,
        {"model": "text-embedding-3-small", "input": "x"},
        frozenset({"model"}),
    )


@pytest.fixture(autouse=True)
def _count_each_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    @cache
    def counted(encoding: tiktoken.Encoding, text: str) -> int:
        return count_tokens(encoding, text)

    monkeypatch.setattr(estimating, "count_tokens", counted)


def looked_at(
    operation: Operation, found: Iterator[Place], upstream: UpstreamTraits = OPENAI
) -> tuple[set[str], set[str]]:
    """Places of a text that costs nothing, and codes of the refusals there were."""
    free: set[str] = set()
    codes: set[str] = set()
    for path, build in found:
        try:
            if references_of(operation, build(TEXT)):
                codes.add(ObjectNotFound.code)
                continue
            without, ceiled = (
                estimating.count(operation, build(text), upstream).input_tokens
                for text in ("x", TEXT)
            )
        except ProxyError as refusal:
            codes.add(str(refusal.code))
        else:
            if ceiled - without < TOKENS - 2:
                free.add(path)
    return free, codes


# What costs nothing, and why.

FOR_OPENAI_ALONE = {"metadata.*", "prompt_cache_key", "safety_identifier", "user"}
"""Notes of the client, or names of its users: no model reads them."""

ENDS_OF_RESPONSES = {"stop", "stop[]"}
"""Compared with what the model writes, but never read by it."""

CHAT_IDS = {
    "ChatCompletionAssistantMessageParam.tool_calls[]<ChatCompletionMessageCustomToolCallParam>.id",
    "ChatCompletionAssistantMessageParam.tool_calls[]<ChatCompletionMessageFunctionToolCallParam>.id",
    "ChatCompletionToolMessageParam.tool_call_id",
}
"""OpenAI matches calls and results by them, and bounds their length."""

CHAT_MEDIA = {
    "ChatCompletionUserMessageParam.content[]<ChatCompletionContentPartImageParam>.image_url.url",
    "ChatCompletionUserMessageParam.content[]<ChatCompletionContentPartInputAudioParam>.input_audio.data",
}
"""Images and sounds, which are bounded as such."""

CHAT_NAMES = {
    "audio<ChatCompletionAudioParam>.voice",
    "moderation<Moderation>.model",
}
"""Which voice, which second model."""

RESPONSE_IDS = (".id", ".call_id", ".caller_id")
RESPONSE_MEDIA = (".image_url", ".file_url", "ImageGenerationCall.result")
RESPONSE_WORDS = {
    "context_management[].type",
    "moderation<Moderation>.model",
}
"""One of a few words, for which the SDK's type is any text."""
RESPONSE_NOTES = {"background_options.continuation_id"}
"""The client's own name for a series of requests, which adds nothing to the input."""


def test_every_text_of_a_chat_is_counted_or_known_to_cost_nothing() -> None:
    free, codes = looked_at(CHATS, chat_places())
    assert free == FOR_OPENAI_ALONE | ENDS_OF_RESPONSES | CHAT_IDS | CHAT_MEDIA | CHAT_NAMES
    # A file, a voice or spoken output in the upstream's store, which has another owner.
    assert codes == {"not_found"}


def test_every_text_of_a_completion_is_counted_or_known_to_cost_nothing() -> None:
    free, codes = looked_at(COMPLETIONS, completion_places())
    assert free == ENDS_OF_RESPONSES | {"user"}
    assert codes == set()


def test_every_text_of_embeddings_is_counted_or_known_to_cost_nothing() -> None:
    free, codes = looked_at(EMBEDDINGS, embedding_places())
    assert free == {"user"}
    assert codes == set()


def test_moderations_cost_nothing_whatever_they_say() -> None:
    assert not find_operation("POST", b"/moderations").charged
    assert members_of(moderation_create_params.ModerationCreateParams).keys() == {"input", "model"}


def test_every_text_of_a_response_is_counted_or_known_to_cost_nothing() -> None:
    free, codes = looked_at(RESPONSES, response_places())
    free = {path for path in free if not path.endswith((*RESPONSE_IDS, *RESPONSE_MEDIA))}
    assert free == FOR_OPENAI_ALONE | RESPONSE_WORDS | RESPONSE_NOTES
    # What somebody has, and what nobody can have here.
    assert codes == {"not_found", "unsupported_parameter"}


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        (CHATS, chat_places),
        (COMPLETIONS, completion_places),
        (EMBEDDINGS, embedding_places),
        (RESPONSES, response_places),
    ],
)
def test_for_a_server_that_is_not_openai_no_more_is_free(
    operation: Operation, found: Callable[[], Iterator[Place]]
) -> None:
    free, _ = looked_at(operation, found(), COMPATIBLE)
    free_at_openai, _ = looked_at(operation, found())
    assert free <= free_at_openai - CHAT_IDS


@pytest.mark.parametrize(
    ("params", "decided"),
    [
        (chat_create_params.CompletionCreateParamsStreaming, chat.FIELDS),
        (completion_create_params.CompletionCreateParamsStreaming, completions.FIELDS),
        (embedding_create_params.EmbeddingCreateParams, embeddings.FIELDS),
        (response_create_params.ResponseCreateParamsStreaming, responses.FIELDS),
        # `betas` goes as a header.
        (beta_create_params.ResponseCreateParamsStreaming, responses.FIELDS | {"betas"}),
    ],
)
def test_every_field_of_the_sdk_is_decided(params: Any, decided: frozenset[str]) -> None:
    assert members_of(params).keys() <= decided

"""`POST /completions`, the older endpoint: prompts in, texts out, 16 tokens by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.sandbox.choices import (
    CHOICES_LIMIT,
    OUTPUT_LIMIT_TOKENS,
    choice_events,
    stream_options,
)
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.generated import Generated, compose, spell
from tokenbalance.sandbox.prompts import Prompt, prompts_in
from tokenbalance.sandbox.replies import Stream, Whole, completion_usage, new_id, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document
    from tokenbalance.sandbox.fields import Fields
    from tokenbalance.sandbox.replies import Reply

DEFAULT_CAP_TOKENS = 16
"""OpenAI's documented default of `max_tokens`."""
BEST_OF_LIMIT = 20
_BEGINNING = Prompt("", tokens=1)
"""Without a prompt the model starts a new text."""


@dataclass(frozen=True, slots=True)
class _Choice:
    generated: Generated
    echo: str

    @property
    def finish_reason(self) -> str:
        return "stop" if self.generated.finished else "length"


def complete(fields: Fields) -> Reply:
    """Respond to each prompt.

    Raises:
        ApiError: OpenAI would not accept the request.
    """
    model = fields.required_text("model")
    prompts = [_BEGINNING]
    if fields.value("prompt") is not None:
        prompts = prompts_in(fields, "prompt", model)
    cap = fields.integer("max_tokens", 0, OUTPUT_LIMIT_TOKENS)
    count = fields.integer("n", 1, CHOICES_LIMIT) or 1
    streamed, with_usage = stream_options(fields)
    best_of = _best_of(fields, count, streamed=streamed)
    _ = fields.number("temperature", 0, 2), fields.number("top_p", 0, 1)
    candidates = [
        _choose(fields, model, prompt, DEFAULT_CAP_TOKENS if cap is None else cap, index)
        for prompt in prompts
        for index in range(best_of)
    ]
    # Every candidate was generated and costs tokens; only the first n of each prompt are returned.
    usage = completion_usage(
        sum(prompt.tokens for prompt in prompts),
        sum(candidate.generated.tokens for candidate in candidates),
    )
    choices = [choice for index, choice in enumerate(candidates) if index % best_of < count]
    if streamed:
        return Stream(tuple(_events(model, choices, usage if with_usage else None)))
    return Whole(_document(model, choices, usage))


def _best_of(fields: Fields, count: int, *, streamed: bool) -> int:
    best_of = fields.integer("best_of", 1, BEST_OF_LIMIT) or count
    if best_of < count:
        message = "You requested that the server return more choices than it will generate (HINT: "
        raise ApiError(f"{message}'best_of' must be at least as large as 'n').", param="best_of")
    if streamed and best_of > count:
        raise ApiError("Cannot stream results with best_of > n.", param="best_of")
    return best_of


def _choose(fields: Fields, model: str, prompt: Prompt, cap: int, index: int) -> _Choice:
    text = "\n\n" + compose(prompt.text, index)
    generated = spell(text, model, cap, fields.strings("stop"))
    return _Choice(generated, prompt.text if fields.flag("echo") else "")


def _envelope(model: str) -> Document:
    return {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": now(),
        "model": model,
    }


def _shown(index: int, text: str, finish_reason: str | None) -> Document:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def _document(model: str, choices: list[_Choice], usage: Document) -> Document:
    document = _envelope(model)
    document["choices"] = [
        _shown(index, choice.echo + choice.generated.text, choice.finish_reason)
        for index, choice in enumerate(choices)
    ]
    if model != MODEL_WITHOUT_USAGE:
        document["usage"] = usage
    return document


def _events(model: str, choices: list[_Choice], usage: Document | None) -> Iterator[bytes]:
    chunks = [_chunks(index, choice) for index, choice in enumerate(choices)]
    return choice_events(_envelope(model), chunks, None if model == MODEL_WITHOUT_USAGE else usage)


def _chunks(index: int, choice: _Choice) -> Iterator[Document]:
    if choice.echo:
        yield _shown(index, choice.echo, None)
    for piece in choice.generated.pieces:
        yield _shown(index, piece, None)
    yield _shown(index, "", choice.finish_reason)

"""`POST /responses`: the newer endpoint and its events.

What stored objects add to a request is in `context`, what is stored of it in `stored_responses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.billed import (
    cache_writes,
    search_events,
    search_of,
    served_tier,
    tool_usage,
)
from tokenbalance.sandbox.choices import OUTPUT_LIMIT_TOKENS
from tokenbalance.sandbox.context import NO_CONTEXT, Context, conversation_of
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.fields import Fields, empty_array, invalid_type, text_within
from tokenbalance.sandbox.generated import Generated, compose, spell
from tokenbalance.sandbox.replies import Stream, Whole, event, new_id, now
from tokenbalance.sandbox.tools import ToolCall, call_tool, insisted_tool, text_in_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json

SMALLEST_CAP_TOKENS = 16

_ECHOED: Document = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the request that the response repeats, with their values if they are absent."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """One response in progress: the document that each state shares, and its output."""

    frame: Document
    output: Generated | ToolCall
    item_id: str
    call_id: str
    search: Document | None
    """The search before the output; None without one."""

    @property
    def generated(self) -> Generated:
        return self.output.arguments if isinstance(self.output, ToolCall) else self.output

    @property
    def status(self) -> str:
        return "completed" if self.generated.finished else "incomplete"


def respond(fields: Fields, context: Context = NO_CONTEXT) -> Whole | Stream:
    """Respond with one message or one function call, after a search if one is offered.

    Args:
        fields: of the request.
        context: what the stored objects that it names add to it.

    Raises:
        ApiError: OpenAI would not accept the request.

    """
    model = fields.required_text("model")
    prompt = _prompt(fields, context)
    cap = fields.integer("max_output_tokens", SMALLEST_CAP_TOKENS, OUTPUT_LIMIT_TOKENS)
    _ = fields.number("temperature", 0, 2), fields.number("top_p", 0, 1)
    turn = _turn(fields, model, prompt, cap)
    usage = None
    if model != MODEL_WITHOUT_USAGE:
        usage = _usage(fields, context, turn.generated.tokens)
    document = _ended(turn, usage)
    if fields.flag("stream"):
        return Stream(tuple(_events(turn, document)), document)
    return Whole(document)


def count_input(fields: Fields, context: Context = NO_CONTEXT) -> Whole:
    """Count the tokens of a response's input."""
    _ = fields.text("model"), _prompt(fields, context)
    tokens = context.tokens + counting.response_tokens(fields)
    return Whole({"object": "response.input_tokens", "input_tokens": tokens})


def resumed(document: Document) -> tuple[bytes, ...]:
    """Return the first and the last event of a response that has ended."""
    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    documents: list[Document] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": f"response.{document['status']}", "response": document},
    ]
    return tuple(
        event({**one, "sequence_number": number}, str(one["type"]))
        for number, one in enumerate(documents)
    )


def _prompt(fields: Fields, context: Context) -> str:
    """Return the user's last text, and which files came with it."""
    value = fields.value("input")
    if value is None and context.continues:
        return ""
    if value is None:
        message = (
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' "
            "must be provided."
        )
        raise ApiError(message, param="input", code="missing_required_parameter")
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid_type("input", "a string or an array of input items", value)
    if not value:
        raise empty_array("input")
    items = fields.objects("input")
    of_users = [item for item in items if item.value("role") == "user"]
    said = text_within((of_users or items)[-1].value("content"))
    return " ".join((said, *(f"[{name}]" for name in context.files)))


def _turn(fields: Fields, model: str, prompt: str, cap: int | None) -> _Turn:
    frame, search = _frame(fields, model), search_of(fields, prompt)
    if function := insisted_tool(fields):
        call = call_tool(function, model, cap, prompt)
        return _Turn(frame, call, new_id("fc_"), new_id("call_"), search)
    text = text_in_format(fields.within("text").value("format"), compose(prompt))
    return _Turn(frame, spell(text, model, cap), new_id("msg_"), "", search)


def _frame(fields: Fields, model: str) -> Document:
    echoed = {
        name: default if fields.value(name) is None else fields.value(name)
        for name, default in _ECHOED.items()
    }
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "service_tier": served_tier(fields),
        **echoed,
        **conversation_of(fields),
        "usage": None,
    }


def _usage(fields: Fields, context: Context, output_tokens: int) -> Document:
    input_tokens = context.tokens + counting.response_tokens(fields)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, **cache_writes(fields, input_tokens)},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _ended(turn: _Turn, usage: Document | None) -> Document:
    incomplete: Json = None if turn.generated.finished else {"reason": "max_output_tokens"}
    searches: list[Json] = [] if turn.search is None else [turn.search]
    return {
        **turn.frame,
        "status": turn.status,
        "completed_at": now() if turn.generated.finished else None,
        "incomplete_details": incomplete,
        "output": [*searches, _item(turn, turn.status, turn.generated.text)],
        **({"tool_usage": tool_usage(len(searches))} if searches else {}),
        "usage": usage,
    }


def _item(turn: _Turn, status: str, text: str | None) -> Document:
    """Return the output item that is no search; without a text it has just begun."""
    if isinstance(turn.output, ToolCall):
        return {
            "id": turn.item_id,
            "type": "function_call",
            "status": status,
            "arguments": text or "",
            "call_id": turn.call_id,
            "name": turn.output.name,
        }
    content: list[Json] = [] if text is None else [_part(text)]
    return {
        "id": turn.item_id,
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _part(text: str) -> Document:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _events(turn: _Turn, ended: Document) -> Iterator[bytes]:
    """Yield every event of the response, numbered in order."""
    documents = [
        {"type": "response.created", "response": turn.frame},
        {"type": "response.in_progress", "response": turn.frame},
        *_item_events(turn),
        {"type": f"response.{turn.status}", "response": ended},
    ]
    for number, document in enumerate(documents):
        yield event({**document, "sequence_number": number}, str(document["type"]))


def _item_events(turn: _Turn) -> Iterator[Document]:
    place: Document = {"output_index": 0}
    if turn.search is not None:
        yield from search_events(turn.search)
        place = {"output_index": 1}
    yield {
        "type": "response.output_item.added",
        "item": _item(turn, "in_progress", None),
        **place,
    }
    inner = _call_events if isinstance(turn.output, ToolCall) else _text_events
    yield from inner(turn.generated, {"item_id": turn.item_id, **place})
    yield {
        "type": "response.output_item.done",
        "item": _item(turn, turn.status, turn.generated.text),
        **place,
    }


def _call_events(arguments: Generated, place: Document) -> Iterator[Document]:
    for piece in arguments.pieces:
        yield {"type": "response.function_call_arguments.delta", "delta": piece, **place}
    yield {
        "type": "response.function_call_arguments.done",
        "arguments": arguments.text,
        **place,
    }


def _text_events(generated: Generated, place: Document) -> Iterator[Document]:
    place = {**place, "content_index": 0}
    yield {"type": "response.content_part.added", "part": _part(""), **place}
    for piece in generated.pieces:
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": [], **place}
    yield {"type": "response.output_text.done", "text": generated.text, "logprobs": [], **place}
    yield {"type": "response.content_part.done", "part": _part(generated.text), **place}

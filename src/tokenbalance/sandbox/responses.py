"""`POST /responses`: the newer endpoint.

What stored objects add to a request is in `context`, what is stored of it in `stored_responses`,
what hosted tools do in `hosted_calls`, and how it is streamed in `response_events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.billed import cache_writes, served_tier, tool_usage
from tokenbalance.sandbox.choices import OUTPUT_LIMIT_TOKENS
from tokenbalance.sandbox.context import NO_CONTEXT, Context, conversation_of
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.fields import Fields, empty_array, invalid_type, text_within
from tokenbalance.sandbox.generated import Generated, compose, spell
from tokenbalance.sandbox.hosted_calls import NOTHING_CALLED, Called
from tokenbalance.sandbox.replies import Stream, Whole, new_id, now
from tokenbalance.sandbox.response_events import events_of
from tokenbalance.sandbox.tools import ToolCall, call_tool, insisted_tool, text_in_format

if TYPE_CHECKING:
    from collections.abc import Callable

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
    called: Called
    """What hosted tools have done before the output."""

    @property
    def generated(self) -> Generated:
        return self.output.arguments if isinstance(self.output, ToolCall) else self.output

    @property
    def status(self) -> str:
        return "completed" if self.generated.finished else "incomplete"


def respond(
    fields: Fields,
    context: Context = NO_CONTEXT,
    call_hosted: Callable[[str], Called] = lambda _: NOTHING_CALLED,
) -> Whole | Stream:
    """Respond with one message or one function call, after the calls of hosted tools.

    Args:
        fields: of the request.
        context: what the stored objects that it names add to it.
        call_hosted: calls the hosted tools that the request and its prompt ask for.

    Raises:
        ApiError: OpenAI would not accept the request.

    """
    model = fields.required_text("model")
    prompt = _prompt(fields, context)
    cap = fields.integer("max_output_tokens", SMALLEST_CAP_TOKENS, OUTPUT_LIMIT_TOKENS)
    _ = fields.number("temperature", 0, 2), fields.number("top_p", 0, 1)
    turn = _turn(fields, model, cap, prompt, call_hosted(prompt))
    usage = None
    if model != MODEL_WITHOUT_USAGE:
        read = sum(counting.count_text(text, model) for text in turn.called.read)
        usage = _usage(fields, context.tokens + read, turn.generated.tokens)
    document = _ended(turn, usage)
    if fields.flag("stream"):
        return Stream(events_of(document), document)
    return Whole(document)


def count_input(fields: Fields, context: Context = NO_CONTEXT) -> Whole:
    """Count the tokens of a response's input."""
    _ = fields.text("model"), _prompt(fields, context)
    tokens = context.tokens + counting.response_tokens(fields)
    return Whole({"object": "response.input_tokens", "input_tokens": tokens})


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


def _turn(fields: Fields, model: str, cap: int | None, prompt: str, called: Called) -> _Turn:
    frame = _frame(fields, model)
    if function := insisted_tool(fields):
        call = call_tool(function, model, cap, prompt)
        return _Turn(frame, call, new_id("fc_"), new_id("call_"), called)
    text = text_in_format(fields.within("text").value("format"), compose(prompt))
    return _Turn(frame, spell(text, model, cap), new_id("msg_"), "", called)


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


def _usage(fields: Fields, more_tokens: int, output_tokens: int) -> Document:
    input_tokens = more_tokens + counting.response_tokens(fields)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, **cache_writes(fields, input_tokens)},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _ended(turn: _Turn, usage: Document | None) -> Document:
    incomplete: Json = None if turn.generated.finished else {"reason": "max_output_tokens"}
    called = turn.called
    is_used = bool(called.searches) or called.images is not None
    return {
        **turn.frame,
        "status": turn.status,
        "completed_at": now() if turn.generated.finished else None,
        "incomplete_details": incomplete,
        "output": [*called.items, _item(turn)],
        **({"tool_usage": tool_usage(called.searches, called.images)} if is_used else {}),
        "usage": usage,
    }


def _item(turn: _Turn) -> Document:
    """Return the output item that is no call of a hosted tool."""
    text = turn.generated.text
    if isinstance(turn.output, ToolCall):
        return {
            "id": turn.item_id,
            "type": "function_call",
            "status": turn.status,
            "arguments": text,
            "call_id": turn.call_id,
            "name": turn.output.name,
        }
    citations: list[Json] = [*turn.called.citations]
    return {
        "id": turn.item_id,
        "type": "message",
        "status": turn.status,
        "content": [
            {"type": "output_text", "annotations": citations, "logprobs": [], "text": text}
        ],
        "role": "assistant",
    }

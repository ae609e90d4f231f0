"""`/responses`: what is stored of responses, and what continues them."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.context import context_of, conversation_name
from tokenbalance.sandbox.conversations import example_item, items_of, keep_items
from tokenbalance.sandbox.faults import ApiError
from tokenbalance.sandbox.fields import Fields
from tokenbalance.sandbox.hosted_calls import call_hosted
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.memory import is_example
from tokenbalance.sandbox.replies import Stream, Whole, deleted, new_id, now
from tokenbalance.sandbox.response_events import events_of
from tokenbalance.sandbox.responses import count_input, respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept
    from tokenbalance.sandbox.replies import Reply

_EXAMPLE_MODEL: Final = "gpt-5.4"
_SECRET_BYTES: Final = 48


def _respond(call: Call) -> Reply:
    reply = respond(call.fields, context_of(call), partial(call_hosted, call))
    if reply.document is not None:
        _keep(call, reply.document)
    return reply


def _keep(call: Call, document: Document) -> None:
    """Keep a response unless `store` is false, and its turn in its conversation in any case."""
    given = items_of(call.fields.value("input"))
    output = items_of(document["output"])
    conversation = conversation_name(call.fields)
    if conversation is not None:
        keep_items(call.memory, conversation, [*given, *output])
    if call.fields.value("store") is not False:
        kept = call.memory.keep("response", document)
        keep_items(call.memory, kept.id, given)
        for item in output:
            _ = call.memory.keep("output_item", item, parent=kept.id)


def _count(call: Call) -> Whole:
    return count_input(call.fields, context_of(call))


def _retrieve(call: Call) -> Reply:
    document = _named(call).document
    if call.query.get("stream") != "true":
        return Whole(document)
    events = events_of(document)
    after = call.query.get("starting_after", "")
    return Stream(events[int(after) + 1 :] if after.isdigit() else events)


def _delete(call: Call) -> Whole:
    kept = _named(call)
    call.memory.drop(kept)
    return deleted(kept.id, "response")


def _cancel(call: Call) -> Whole:
    kept = _named(call)
    if call.memory.find("response", kept.id) is not None:
        message = "Cannot cancel a synchronous response."
        raise ApiError(message, param="response_id")
    return Whole(kept.document)


def _list_input(call: Call) -> Whole:
    kept = _named(call)
    items = [one.document for one in call.memory.every("item", kept.id)]
    if not items and is_example(kept.id):
        items = [example_item("msg_abc")]
    return page_of(items, call.query)


def _compact(call: Call) -> Whole:
    """Return the user's messages, and all the rest as one item that nobody can read."""
    context = context_of(call)
    model = call.fields.required_text("model")
    given = items_of(call.fields.value("input"))
    item: Document = {
        "id": new_id("cmp_"),
        "type": "compaction",
        "encrypted_content": secrets.token_urlsafe(_SECRET_BYTES),
    }
    output: list[Json] = [*(one for one in given if one.get("role") == "user"), item]
    read = context.tokens + counting.response_tokens(call.fields)
    written = counting.count_text(str(item["encrypted_content"]), model)
    return Whole(
        {
            "id": new_id("resp_"),
            "object": "response.compaction",
            "created_at": now(),
            "output": output,
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + written,
            },
        }
    )


def _named(call: Call) -> Kept:
    return call.named("response", "response_id", _example)


def _example(name: str) -> Document:
    made = respond(Fields({"model": _EXAMPLE_MODEL, "input": "Hello!"})).document
    return {**(made or {}), "id": name}


STORED_RESPONSES: Final[Mapping[str, Endpoint]] = {
    "POST /responses": _respond,
    "POST /responses/input_tokens": _count,
    "POST /responses/compact": _compact,
    "GET /responses/{response_id}": _retrieve,
    "DELETE /responses/{response_id}": _delete,
    "POST /responses/{response_id}/cancel": _cancel,
    "GET /responses/{response_id}/input_items": _list_input,
}

"""`/conversations` and their items, and how items are read and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.memory import is_example
from tokenbalance.sandbox.replies import Whole, deleted, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept, Memory

_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg_",
    "function_call": "fc_",
    "reasoning": "rs_",
    "web_search_call": "ws_",
    "compaction": "cmp_",
}


def items_of(given: Json) -> list[Document]:
    """Return the items of an input, each with an id; a text is one message."""
    if isinstance(given, str):
        return [_item({"role": "user", "content": given})]
    items = given if isinstance(given, list) else []
    return [_item(item) for item in items if isinstance(item, dict)]


def keep_items(memory: Memory, parent: str, items: Sequence[Document]) -> None:
    """Keep items as parts of a conversation or a response."""
    for item in items:
        _ = memory.keep("item", item, parent=parent)


def _item(given: Document) -> Document:
    kind = given.get("type") or "message"
    name = given.get("id") or new_id(_PREFIXES.get(str(kind), "item_"))
    item: Document = {**given, "id": name, "type": kind}
    if kind == "message":
        item["status"] = "completed"
        item["content"] = _parts(given)
    return item


def _parts(given: Document) -> Json:
    content = given.get("content")
    if not isinstance(content, str):
        return content
    if given.get("role") == "assistant":
        return [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}]
    return [{"type": "input_text", "text": content}]


def example_item(name: str) -> Document:
    """Describe the item of an id of the documentation."""
    return _item({"id": name, "role": "user", "content": "Hello!"})


def _conversation(name: str, metadata: Json = None) -> Document:
    return {
        "id": name,
        "object": "conversation",
        "created_at": now(),
        "metadata": metadata if isinstance(metadata, dict) else {},
    }


def _create(call: Call) -> Whole:
    _ = call.fields.objects("items")
    document = _conversation(new_id("conv_"), call.fields.value("metadata"))
    conversation = call.memory.keep("conversation", document)
    keep_items(call.memory, conversation.id, items_of(call.fields.value("items")))
    return Whole(document)


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _update(call: Call) -> Whole:
    metadata = call.fields.within("metadata").document
    return Whole(call.memory.change(_named(call), metadata=metadata).document)


def _delete(call: Call) -> Whole:
    conversation = _named(call)
    call.memory.drop(conversation)
    return deleted(conversation.id, "conversation.deleted")


def _add_items(call: Call) -> Whole:
    conversation = _named(call)
    _ = call.fields.required("items"), call.fields.objects("items")
    items = items_of(call.fields.value("items"))
    keep_items(call.memory, conversation.id, items)
    return page_of(items, {"order": "asc"})


def _list_items(call: Call) -> Whole:
    items = call.memory.every("item", _named(call).id)
    page = page_of([one.document for one in items], call.query)
    if not items and is_example(call.path["conversation_id"]):
        return page_of([example_item("msg_abc")], {})
    return page


def _retrieve_item(call: Call) -> Whole:
    return Whole(_named_item(call).document)


def _delete_item(call: Call) -> Whole:
    call.memory.drop(_named_item(call))
    return Whole(_named(call).document)


def _named(call: Call) -> Kept:
    return call.named("conversation", "conversation_id", _conversation)


def _named_item(call: Call) -> Kept:
    conversation = _named(call).id
    item = call.named("item", "item_id", example_item, conversation)
    known = call.memory.find("conversation", conversation) is not None
    if known and call.memory.find("item", item.id, conversation) is None:
        raise no_such_object("item", item.id)
    return item


CONVERSATIONS: Final[Mapping[str, Endpoint]] = {
    "POST /conversations": _create,
    "GET /conversations/{conversation_id}": _retrieve,
    "POST /conversations/{conversation_id}": _update,
    "DELETE /conversations/{conversation_id}": _delete,
    "POST /conversations/{conversation_id}/items": _add_items,
    "GET /conversations/{conversation_id}/items": _list_items,
    "GET /conversations/{conversation_id}/items/{item_id}": _retrieve_item,
    "DELETE /conversations/{conversation_id}/items/{item_id}": _delete_item,
}

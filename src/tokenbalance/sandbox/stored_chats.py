"""`/chat/completions`: chats that were asked to be stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.chat import complete_chat
from tokenbalance.sandbox.context import files_context
from tokenbalance.sandbox.fields import Fields
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Whole, deleted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept
    from tokenbalance.sandbox.replies import Reply

_EXAMPLE: Final[Document] = {
    "model": "gpt-5.4",
    "messages": [{"role": "user", "content": "Hello!"}],
}
_METADATA: Final = re.compile(r"metadata\[(.+)\]")


def _complete(call: Call) -> Reply:
    reply = complete_chat(call.fields, files_context(call).tokens)
    if reply.document is not None and call.fields.flag("store"):
        _keep(call, reply.document)
    return reply


def _keep(call: Call, document: Document) -> None:
    metadata = call.fields.value("metadata")
    kept = call.memory.keep("chat_completion", {**document, "metadata": metadata or {}})
    for index, message in enumerate(call.fields.objects("messages")):
        row = _message(kept.id, index, message.document)
        _ = call.memory.keep("chat_message", row, parent=kept.id)


def _message(chat: str, index: int, given: Document) -> Document:
    content: Json = given.get("content")
    whole = content if isinstance(content, str) else None
    parts = content if isinstance(content, list) else None
    return {
        **given,
        "id": f"{chat}-{index}",
        "content": whole,
        "content_parts": parts,
        "refusal": None,
    }


def _list(call: Call) -> Whole:
    wanted = {
        found[1]: value
        for name, value in call.query.items()
        if (found := _METADATA.fullmatch(name)) is not None
    }
    model = call.query.get("model")
    chats = [one.document for one in call.memory.every("chat_completion")]
    shown = [
        one
        for one in chats
        if (model is None or one["model"] == model) and wanted.items() <= _metadata(one).items()
    ]
    return page_of(shown, call.query, order="asc")


def _metadata(chat: Document) -> Document:
    metadata = chat["metadata"]
    return metadata if isinstance(metadata, dict) else {}


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _update(call: Call) -> Whole:
    metadata = call.fields.within("metadata").document
    return Whole(call.memory.change(_named(call), metadata=metadata).document)


def _delete(call: Call) -> Whole:
    kept = _named(call)
    call.memory.drop(kept)
    return deleted(kept.id, "chat.completion.deleted")


def _list_messages(call: Call) -> Whole:
    messages = call.memory.every("chat_message", _named(call).id)
    return page_of([one.document for one in messages], call.query, order="asc")


def _named(call: Call) -> Kept:
    return call.named("chat_completion", "completion_id", _example)


def _example(name: str) -> Document:
    made = complete_chat(Fields(_EXAMPLE)).document
    return {**(made or {}), "id": name, "metadata": {}}


STORED_CHATS: Final[Mapping[str, Endpoint]] = {
    "POST /chat/completions": _complete,
    "GET /chat/completions": _list,
    "GET /chat/completions/{completion_id}": _retrieve,
    "POST /chat/completions/{completion_id}": _update,
    "DELETE /chat/completions/{completion_id}": _delete,
    "GET /chat/completions/{completion_id}/messages": _list_messages,
}

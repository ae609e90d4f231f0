"""The files of vector stores, one by one and in batches. They are there as soon as they are added.

The id of a file of a store is that of the file itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.fields import Fields, missing
from tokenbalance.sandbox.files import example_file
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Whole, deleted, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept

_FILE: Final = "vector_store_file"
_BATCH: Final = "vector_store_file_batch"
_CHUNKS: Final[Document] = {
    "type": "static",
    "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
}


def store_document(name: str, title: str) -> Document:
    """Describe an empty store."""
    return {
        "id": name,
        "object": "vector_store",
        "created_at": now(),
        "name": title,
        "usage_bytes": 0,
        "file_counts": counts_of(0),
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": now(),
        "metadata": {},
    }


def example_store(name: str) -> Document:
    """Describe the store of an id of the documentation."""
    return store_document(name, "Support FAQ")


def counts_of(completed: int, cancelled: int = 0) -> Document:
    """Count files by their state."""
    return {
        "in_progress": 0,
        "completed": completed,
        "failed": 0,
        "cancelled": cancelled,
        "total": completed + cancelled,
    }


def files_of(call: Call, store: Kept) -> list[Kept]:
    """List a store's files, the oldest first."""
    return call.memory.every(_FILE, store.id)


def with_counts(call: Call, store: Kept) -> Document:
    """Describe a store with its files counted."""
    files = files_of(call, store)
    used = [one.document["usage_bytes"] for one in files]
    return {
        **store.document,
        "file_counts": counts_of(len(files)),
        "usage_bytes": sum(size for size in used if isinstance(size, int)),
    }


def add_file(
    call: Call, store: Kept, name: str, attributes: Json = None, chunks: Json = None
) -> Document:
    """Add a file to a store.

    Raises:
        ApiError: there is no such file.
    """
    source = call.memory.found_or_example("file", name, example_file)
    if source is None:
        raise no_such_object("file", name)
    document = _file(name, store.id, source.document["bytes"])
    document["attributes"] = attributes if isinstance(attributes, dict) else {}
    if isinstance(chunks, dict) and chunks.get("type") == "static":
        document["chunking_strategy"] = chunks
    return call.memory.keep(_FILE, document, parent=store.id).document


def text_of(call: Call, name: str) -> str:
    """Return what a file says; empty if it is gone."""
    source = call.memory.find("file", name)
    return "" if source is None else source.data.decode("utf-8", "ignore")


def _file(name: str, store: str, size: Json = 0) -> Document:
    return {
        "id": name,
        "object": "vector_store.file",
        "created_at": now(),
        "usage_bytes": size,
        "vector_store_id": store,
        "status": "completed",
        "last_error": None,
        "chunking_strategy": _CHUNKS,
        "attributes": {},
    }


def _store(call: Call) -> Kept:
    return call.named("vector_store", "vector_store_id", example_store)


def _named(call: Call) -> Kept:
    store = _store(call).id
    return call.named(_FILE, "file_id", lambda name: _file(name, store), store)


def _add(call: Call) -> Whole:
    fields = call.fields
    name = fields.required_text("file_id")
    chunks = fields.value("chunking_strategy")
    return Whole(add_file(call, _store(call), name, fields.value("attributes"), chunks))


def _list(call: Call) -> Whole:
    return _page(call, [one.document for one in files_of(call, _store(call))])


def _page(call: Call, files: Sequence[Document]) -> Whole:
    state = call.query.get("filter")
    shown = [one for one in files if state is None or one["status"] == state]
    return page_of(shown, call.query)


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _update(call: Call) -> Whole:
    file, attributes = _named(call), call.fields.within("attributes").document
    return Whole(call.memory.change(file, attributes=attributes).document)


def _delete(call: Call) -> Whole:
    file = _named(call)
    call.memory.drop(file)
    return deleted(file.id, "vector_store.file.deleted")


def _content(call: Call) -> Whole:
    file = _named(call)
    data: list[Json] = [{"type": "text", "text": text_of(call, file.id)}]
    return Whole(
        {
            "object": "vector_store.file_content.page",
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


def _batch(name: str, store: str, files: int) -> Document:
    return {
        "id": name,
        "object": "vector_store.files_batch",
        "created_at": now(),
        "vector_store_id": store,
        "status": "completed",
        "file_counts": counts_of(files),
    }


def _create_batch(call: Call) -> Whole:
    store = _store(call)
    fields = call.fields
    rows = [Fields({**fields.document, "file_id": name}) for name in fields.strings("file_ids")]
    rows += fields.objects("files")
    if not rows:
        raise missing("file_ids")
    names: list[str] = []
    for row in rows:
        names.append(row.required_text("file_id"))
        chunks = row.value("chunking_strategy")
        _ = add_file(call, store, names[-1], row.value("attributes"), chunks)
    batch = call.memory.keep(_BATCH, _batch(new_id("vsfb_"), store.id, len(names)), parent=store.id)
    members: Document = {"id": batch.id, "names": [*names]}
    _ = call.memory.keep("members", members, parent=batch.id)
    return Whole(batch.document)


def _named_batch(call: Call) -> Kept:
    store = _store(call).id
    return call.named(_BATCH, "batch_id", lambda name: _batch(name, store, 0), store)


def _retrieve_batch(call: Call) -> Whole:
    return Whole(_named_batch(call).document)


def _list_batch(call: Call) -> Whole:
    batch = _named_batch(call)
    members = call.memory.find("members", batch.id, batch.id)
    names = [] if members is None else members.document["names"]
    files = files_of(call, _store(call))
    wanted = names if isinstance(names, list) else []
    return _page(call, [one.document for one in files if one.id in wanted])


BATCHES_OF_FILES: Final[Mapping[str, Endpoint]] = {
    "POST /vector_stores/{vector_store_id}/file_batches": _create_batch,
    "GET /vector_stores/{vector_store_id}/file_batches/{batch_id}": _retrieve_batch,
    # What is completed cannot be cancelled, and says so by its status.
    "POST /vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel": _retrieve_batch,
    "GET /vector_stores/{vector_store_id}/file_batches/{batch_id}/files": _list_batch,
}
STORE_FILES: Final[Mapping[str, Endpoint]] = {
    "POST /vector_stores/{vector_store_id}/files": _add,
    "GET /vector_stores/{vector_store_id}/files": _list,
    "GET /vector_stores/{vector_store_id}/files/{file_id}": _retrieve,
    "POST /vector_stores/{vector_store_id}/files/{file_id}": _update,
    "DELETE /vector_stores/{vector_store_id}/files/{file_id}": _delete,
    "GET /vector_stores/{vector_store_id}/files/{file_id}/content": _content,
    **BATCHES_OF_FILES,
}

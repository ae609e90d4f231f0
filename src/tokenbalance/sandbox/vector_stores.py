"""`/vector_stores`: stores and the search in them, which ranks texts by the words they share.

The files of a store are in `store_files`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Whole, deleted, new_id, now
from tokenbalance.sandbox.store_files import (
    add_file,
    example_store,
    files_of,
    store_document,
    text_of,
    with_counts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept

RESULTS: Final = 10
RESULTS_MAX: Final = 50
_CHUNK_CHARACTERS: Final = 1600
_WORD: Final = re.compile(r"\w+")
_DAY_S: Final = 24 * 3600


def _create(call: Call) -> Whole:
    fields = call.fields
    document = store_document(new_id("vs_"), fields.text("name") or "")
    document.update(_changes(call))
    store = call.memory.keep("vector_store", document)
    for name in fields.strings("file_ids"):
        _ = add_file(call, store, name)
    return Whole(with_counts(call, store))


def _changes(call: Call) -> Document:
    """Return the members that a request sets."""
    fields = call.fields
    changes: Document = {"last_active_at": now()}
    for name in ("name", "description", "metadata"):
        if fields.value(name) is not None:
            changes[name] = fields.value(name)
    days = fields.within("expires_after").integer("days", 1, 365)
    if days is not None:
        changes["expires_after"] = {"anchor": "last_active_at", "days": days}
        changes["expires_at"] = now() + days * _DAY_S
    return changes


def _list(call: Call) -> Whole:
    return page_of(
        [with_counts(call, one) for one in call.memory.every("vector_store")], call.query
    )


def _retrieve(call: Call) -> Whole:
    return Whole(with_counts(call, _named(call)))


def _update(call: Call) -> Whole:
    store = call.memory.change(_named(call), **_changes(call))
    return Whole(with_counts(call, store))


def _delete(call: Call) -> Whole:
    store = _named(call)
    call.memory.drop(store)
    return deleted(store.id, "vector_store.deleted")


def _search(call: Call) -> Whole:
    store = _named(call)
    queries = call.fields.strings("query") or [call.fields.required_text("query")]
    most = call.fields.integer("max_num_results", 1, RESULTS_MAX) or RESULTS
    data: list[Json] = [*found_in(call, store, queries, most)]
    return Whole(
        {
            "object": "vector_store.search_results.page",
            "search_query": [*queries],
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


def found_in(call: Call, store: Kept, queries: Sequence[str], most: int) -> list[Document]:
    """Return the texts of a store that share words with the queries, the most alike first."""
    words = {found[0] for query in queries for found in _WORD.finditer(query.lower())}
    found = [one for file in files_of(call, store) for one in _matches(call, file, words)]
    found.sort(key=_score, reverse=True)
    return found[:most]


def _score(match: Document) -> float:
    score = match["score"]
    return score if isinstance(score, float) else 0.0


def _matches(call: Call, file: Kept, words: set[str]) -> list[Document]:
    text = text_of(call, file.id)
    chunks = [text[at : at + _CHUNK_CHARACTERS] for at in range(0, len(text), _CHUNK_CHARACTERS)]
    source = call.memory.find("file", file.id)
    filename = "" if source is None else source.document["filename"]
    return [
        {
            "file_id": file.id,
            "filename": filename,
            "score": round(shared / len(words), 4),
            "attributes": file.document["attributes"],
            "content": [{"type": "text", "text": chunk}],
        }
        for chunk in chunks
        if (shared := len(words.intersection(_WORD.findall(chunk.lower()))))
    ]


def _named(call: Call) -> Kept:
    return call.named("vector_store", "vector_store_id", example_store)


VECTOR_STORES: Final[Mapping[str, Endpoint]] = {
    "POST /vector_stores": _create,
    "GET /vector_stores": _list,
    "GET /vector_stores/{vector_store_id}": _retrieve,
    "POST /vector_stores/{vector_store_id}": _update,
    "DELETE /vector_stores/{vector_store_id}": _delete,
    "POST /vector_stores/{vector_store_id}/search": _search,
}

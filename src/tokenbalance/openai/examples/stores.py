"""Examples of vector stores, their files, and batches of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, deleted, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_STORE_ID: Final = "vs_123"
_FILE_ID: Final = "file-123"
_BATCH_ID: Final = "vsfb_123"


def _counts(*, completed: int) -> Document:
    return {
        "in_progress": 1 - completed,
        "completed": completed,
        "failed": 0,
        "cancelled": 0,
        "total": 1,
    }


_STORE: Final[Document] = {
    "id": _STORE_ID,
    "object": "vector_store",
    "created_at": CREATED,
    "name": "Manuals",
    "usage_bytes": 120000,
    "file_counts": _counts(completed=1),
    "status": "completed",
    "expires_after": None,
    "expires_at": None,
    "last_active_at": CREATED,
    "metadata": {},
}
_FILE: Final[Document] = {
    "id": _FILE_ID,
    "object": "vector_store.file",
    "created_at": CREATED,
    "usage_bytes": 120000,
    "vector_store_id": _STORE_ID,
    "status": "completed",
    "last_error": None,
    "attributes": {},
}
_BATCH: Final[Document] = {
    "id": _BATCH_ID,
    "object": "vector_store.files_batch",
    "created_at": CREATED,
    "vector_store_id": _STORE_ID,
    "status": "in_progress",
    "file_counts": _counts(completed=0),
}
_AT_STORE: Final = {"vector_store_id": _STORE_ID}
_AT_FILE: Final = {**_AT_STORE, "file_id": _FILE_ID}
_AT_BATCH: Final = {**_AT_STORE, "batch_id": _BATCH_ID}

STORES: Final = read(page_of(_STORE))
NEW_STORE: Final = Examples({"With one file": {"name": "Manuals", "file_ids": [_FILE_ID]}}, _STORE)
STORE: Final = read(_STORE, _AT_STORE)
CHANGED_STORE: Final = Examples({"Its name": {"name": "Manuals"}}, _STORE, parameters=_AT_STORE)
DELETED_STORE: Final = read(deleted(_STORE_ID, "vector_store.deleted"), _AT_STORE)
STORE_FILES: Final = read(page_of(_FILE), _AT_STORE)
NEW_STORE_FILE: Final = Examples(
    {"A file with attributes": {"file_id": _FILE_ID, "attributes": {"year": 2030}}},
    {**_FILE, "status": "in_progress", "usage_bytes": 0, "attributes": {"year": 2030}},
    parameters=_AT_STORE,
)
STORE_FILE: Final = read(_FILE, _AT_FILE)
CHANGED_STORE_FILE: Final = Examples(
    {"Its attributes": {"attributes": {"year": 2030}}},
    {**_FILE, "attributes": {"year": 2030}},
    parameters=_AT_FILE,
)
REMOVED_STORE_FILE: Final = read(deleted(_FILE_ID, "vector_store.file.deleted"), _AT_FILE)
STORE_FILE_CONTENT: Final = read(
    {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": "Press the red button."}],
        "has_more": False,
        "next_page": None,
    },
    _AT_FILE,
)
NEW_BATCH: Final = Examples({"One file": {"file_ids": [_FILE_ID]}}, _BATCH, parameters=_AT_STORE)
BATCH: Final = read(_BATCH, _AT_BATCH)
CANCELLED_BATCH: Final = read({**_BATCH, "status": "cancelled"}, _AT_BATCH)
BATCH_FILES: Final = read(page_of(_FILE), _AT_BATCH)

"""Vector stores. What they occupy is charged by the day, not by these requests."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import stores as examples
from tokenbalance.openai.examples.sessions import SEARCH_EXAMPLES
from tokenbalance.openai.families import FREE, READ, SEARCHES
from tokenbalance.openai.operation import Operation

_PAGE: Final = ("after", "before", "limit", "order")
_FILES: Final = (*_PAGE, "filter")

STORES: Final = (
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}/search",
        SEARCHES,
        "Search a vector store",
        uses=("vector_store",),
        own_derived=("file:$.data[].file_id",),
        own_examples=SEARCH_EXAMPLES,
    ),
    Operation(
        "GET",
        "/vector_stores",
        READ,
        "Vector stores",
        lists="vector_store",
        query=_PAGE,
        own_examples=examples.STORES,
    ),
    Operation(
        "POST",
        "/vector_stores",
        FREE,
        "Create a vector store",
        own_creates=("vector_store:$.id",),
        own_examples=examples.NEW_STORE,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}",
        READ,
        "One vector store",
        uses=("vector_store",),
        own_examples=examples.STORE,
    ),
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}",
        FREE,
        "Change a vector store",
        uses=("vector_store",),
        own_examples=examples.CHANGED_STORE,
    ),
    Operation(
        "DELETE",
        "/vector_stores/{vector_store_id}",
        READ,
        "Delete a vector store",
        uses=("vector_store",),
        deletes="vector_store",
        own_examples=examples.DELETED_STORE,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}/files",
        READ,
        "Files of a vector store",
        uses=("vector_store",),
        lists="vector_store_file",
        query=_FILES,
        own_derived=("vector_store_file:$.data[].id",),
        own_examples=examples.STORE_FILES,
    ),
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}/files",
        FREE,
        "Add a file to a vector store",
        uses=("vector_store",),
        own_creates=("vector_store_file:$.id",),
        own_examples=examples.NEW_STORE_FILE,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}/files/{file_id}",
        READ,
        "One file of a vector store",
        uses=("vector_store", "vector_store_file"),
        own_examples=examples.STORE_FILE,
    ),
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}/files/{file_id}",
        FREE,
        "Change the attributes of a file of a vector store",
        uses=("vector_store", "vector_store_file"),
        own_examples=examples.CHANGED_STORE_FILE,
    ),
    Operation(
        "DELETE",
        "/vector_stores/{vector_store_id}/files/{file_id}",
        READ,
        "Remove a file from a vector store",
        uses=("vector_store", "vector_store_file"),
        deletes="vector_store_file",
        own_examples=examples.REMOVED_STORE_FILE,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}/files/{file_id}/content",
        READ,
        "The text of a file of a vector store",
        uses=("vector_store", "vector_store_file"),
        lists="text",
        own_examples=examples.STORE_FILE_CONTENT,
    ),
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}/file_batches",
        FREE,
        "Add files to a vector store",
        uses=("vector_store",),
        own_creates=("vector_store_file_batch:$.id",),
        own_examples=examples.NEW_BATCH,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}/file_batches/{batch_id}",
        READ,
        "How far a batch of files is",
        uses=("vector_store", "vector_store_file_batch"),
        own_examples=examples.BATCH,
    ),
    Operation(
        "POST",
        "/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
        READ,
        "Cancel a batch of files",
        uses=("vector_store", "vector_store_file_batch"),
        own_examples=examples.CANCELLED_BATCH,
    ),
    Operation(
        "GET",
        "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files",
        READ,
        "Files of a batch",
        uses=("vector_store", "vector_store_file_batch"),
        lists="vector_store_file",
        query=_FILES,
        own_derived=("vector_store_file:$.data[].id",),
        own_examples=examples.BATCH_FILES,
    ),
)

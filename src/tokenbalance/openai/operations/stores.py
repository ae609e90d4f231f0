"""Vector stores."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.sessions import SEARCH_EXAMPLES
from tokenbalance.openai.families import SEARCHES
from tokenbalance.openai.operation import Operation

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
)

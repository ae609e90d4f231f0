"""Examples of operations that have a fee: searches and containers."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.operation import Examples

SEARCH_EXAMPLES: Final = Examples(
    {"One query": {"query": "What is the return policy?", "max_num_results": 5}},
    {
        "object": "vector_store.search_results.page",
        "search_query": ["What is the return policy?"],
        "data": [
            {
                "file_id": "file-123",
                "filename": "policies.pdf",
                "score": 0.95,
                "attributes": {},
                "content": [{"type": "text", "text": "Within 30 days of the purchase."}],
            }
        ],
        "has_more": False,
        "next_page": None,
    },
    parameters={"vector_store_id": "vs_123"},
)
NEW_CONTAINER_EXAMPLES: Final = Examples(
    {"The smallest": {"name": "Calculations", "memory_limit": "1g"}},
    {
        "id": "cntr_123",
        "object": "container",
        "created_at": 1893456000,
        "status": "running",
        "name": "Calculations",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "last_active_at": 1893456000,
        "memory_limit": "1g",
    },
)

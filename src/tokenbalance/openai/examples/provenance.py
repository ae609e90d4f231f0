"""Examples of checks of where a file was made."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.operation import Examples

PROVENANCE_EXAMPLES: Final = Examples(
    {"An image": {"file": {"filename": "sunset.png", "content_type": "image/png", "size": 48213}}},
    {
        "object": "content_provenance_check",
        "created_at": 1893456000,
        "results": [{"type": "synthid", "outcome": "not_detected"}],
    },
)

"""The table of endpoints. A row here is all it takes to open one; what has no row is closed.

Paths are written as in OpenAI's API reference, below `/v1`; `{...}` stands for one path segment.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.operation import Metering, Operation

OPERATIONS: Final = (
    Operation("POST", "/chat/completions", Metering.CHAT, "Chat completion"),
    Operation("POST", "/completions", Metering.COMPLETIONS, "Text completion (legacy)"),
    Operation("POST", "/embeddings", Metering.EMBEDDINGS, "Embeddings"),
    Operation("POST", "/responses", Metering.RESPONSES, "Model response"),
    Operation(
        "POST",
        "/responses/input_tokens",
        Metering.RESPONSES,
        "Input tokens of a model response",
        charged=False,
    ),
    # OpenAI's operations of their own, told apart from those above by the query alone.
    Operation("POST", "/responses?beta=true", Metering.RESPONSES, "Model response (beta)"),
    Operation(
        "POST",
        "/responses/input_tokens?beta=true",
        Metering.RESPONSES,
        "Input tokens of a model response (beta)",
        charged=False,
    ),
    Operation("POST", "/moderations", Metering.FREE, "Moderation", charged=False),
    Operation("GET", "/models", Metering.FREE, "Models", charged=False, of_models=True),
    Operation("GET", "/models/{model}", Metering.FREE, "One model", charged=False, of_models=True),
)
DESCRIBED: Final = tuple(endpoint for endpoint in OPERATIONS if "?" not in endpoint.path)
"""What documents list: of twins one, since OpenAPI knows a path by what stands before its query."""

_CHARGE: Final = "the charge is `usage.total_tokens`, or what the rate card makes of the usage"
METERED_BY: Final = {
    Metering.CHAT: "the hold covers the counted messages plus `max_completion_tokens` (or"
    f" `max_tokens`, or the model's maximum) for each of `n` choices; {_CHARGE}",
    Metering.COMPLETIONS: "the hold covers the prompts plus `max_tokens` (16 when absent) for each"
    f" of `n` or `best_of` choices; {_CHARGE}",
    Metering.RESPONSES: "the hold covers the counted input plus `max_output_tokens` (or the"
    f" model's maximum); {_CHARGE}",
    Metering.EMBEDDINGS: f"the hold covers the counted input; {_CHARGE}",
    Metering.FREE: "free: nothing is held or charged",
}

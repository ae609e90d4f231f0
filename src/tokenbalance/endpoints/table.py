"""The table of endpoints. A row here is all it takes to open one; what has no row is closed.

Paths are written as in OpenAI's API reference, below `/v1`; `{...}` stands for one path segment.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.model import Endpoint, Metering

ENDPOINTS: Final = (
    Endpoint("POST", "/chat/completions", Metering.CHAT, "Chat completion"),
    Endpoint("POST", "/completions", Metering.COMPLETIONS, "Text completion (legacy)"),
    Endpoint("POST", "/embeddings", Metering.EMBEDDINGS, "Embeddings"),
    Endpoint("POST", "/responses", Metering.RESPONSES, "Model response"),
    Endpoint(
        "POST",
        "/responses/input_tokens",
        Metering.RESPONSES,
        "Input tokens of a model response",
        charged=False,
    ),
    Endpoint("POST", "/moderations", Metering.FREE, "Moderation", charged=False),
    Endpoint("GET", "/models", Metering.FREE, "Models", charged=False),
    Endpoint("GET", "/models/{model}", Metering.FREE, "One model", charged=False),
)

METERED_BY: Final = {
    Metering.CHAT: "the hold covers the counted messages plus `max_completion_tokens` (or"
    " `max_tokens`, or the model's maximum) for each of `n` choices; the charge is"
    " `usage.total_tokens`",
    Metering.COMPLETIONS: "the hold covers the prompts plus `max_tokens` (16 when absent) for each"
    " of `n` or `best_of` choices; the charge is `usage.total_tokens`",
    Metering.RESPONSES: "the hold covers the counted input plus `max_output_tokens` (or the"
    " model's maximum); the charge is `usage.total_tokens`",
    Metering.EMBEDDINGS: "the hold covers the counted input; the charge is `usage.total_tokens`",
    Metering.FREE: "free: nothing is held or charged",
}

# OpenAI has these, and they act on what everybody behind the shared key owns together: stored
# completions, fine-tunes, evaluations, uploads. They have no owner here, so nobody may use them.
NOT_ALLOWED: Final = (
    "/chat/completions",
    "/chat/completions",
    "/chat/completions/{completion}",
    "/evals",
    "/fine_tuning",
    "/skills",
    "/uploads",
    "/webhooks",
)

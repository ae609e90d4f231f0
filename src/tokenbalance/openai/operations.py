"""The table of operations. A row here is all it takes to open one; what has no row is closed.

Paths are written as in OpenAI's API reference, below `/v1`; `{...}` stands for one path segment.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import (
    MODEL_EXAMPLES,
    MODELS_EXAMPLES,
    MODERATION_EXAMPLES,
)
from tokenbalance.openai.families import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    FREE,
    INPUT_TOKENS,
    READ,
    RESPONSES,
)
from tokenbalance.openai.operation import Operation

OPERATIONS: Final = (
    Operation("POST", "/chat/completions", CHAT, "Chat completion"),
    Operation("POST", "/completions", COMPLETIONS, "Text completion (legacy)"),
    Operation("POST", "/embeddings", EMBEDDINGS, "Embeddings"),
    Operation("POST", "/responses", RESPONSES, "Model response"),
    Operation("POST", "/responses/input_tokens", INPUT_TOKENS, "Input tokens of a model response"),
    # Operations that only the query tells from those above.
    Operation("POST", "/responses?beta=true", RESPONSES, "Model response (beta)"),
    Operation(
        "POST",
        "/responses/input_tokens?beta=true",
        INPUT_TOKENS,
        "Input tokens of a model response (beta)",
    ),
    Operation("POST", "/moderations", FREE, "Moderation", own_examples=MODERATION_EXAMPLES),
    Operation("GET", "/models", READ, "Models", lists="model", own_examples=MODELS_EXAMPLES),
    Operation(
        "GET", "/models/{model}", READ, "One model", uses="model", own_examples=MODEL_EXAMPLES
    ),
)

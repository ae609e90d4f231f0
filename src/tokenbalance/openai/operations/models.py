"""Models."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.text import (
    MODEL_EXAMPLES,
    MODELS_EXAMPLES,
)
from tokenbalance.openai.families import (
    READ,
)
from tokenbalance.openai.operation import Operation

MODELS: Final = (
    Operation("GET", "/models", READ, "Models", lists="model", own_examples=MODELS_EXAMPLES),
    Operation(
        "GET", "/models/{model}", READ, "One model", uses=("model",), own_examples=MODEL_EXAMPLES
    ),
)

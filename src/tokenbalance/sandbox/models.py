"""`GET /models` and `GET /models/{model}`.

The list is for people to choose from: requests may name any other model as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.sandbox.faults import MODELS_ON_DEMAND, no_such_model
from tokenbalance.sandbox.replies import Whole

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

MODELS = (
    "gpt-6-luna",
    "gpt-6-astra",
    "gpt-6.2-sol",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-3.5-turbo-instruct",
    "gpt-image-2.6-flare",
    "gpt-image-1-mini",
    "gpt-4o-mini-tts",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "whisper-1",
    "tts-1",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "text-embedding-ada-002",
    "omni-moderation-latest",
    *MODELS_ON_DEMAND,
)

_CREATED = 1_735_689_600


def list_models() -> Whole:
    """Every model worth trying here."""
    data: list[Json] = [_model(name) for name in MODELS]
    return Whole({"object": "list", "data": data})


def show_model(name: str) -> Whole:
    """One of them.

    Raises:
        ApiError: it is not in the list.
    """
    if name not in MODELS:
        raise no_such_model(name)
    return Whole(_model(name))


def _model(name: str) -> Document:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "tokenbalance-sandbox"}

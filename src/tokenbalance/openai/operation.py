"""What an operation of the upstream is: everything that differs from one to the next, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Metering(enum.Enum):
    """How an endpoint's answer is priced, and so how its request is read."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the upstream that a caller may use."""

    method: str
    path: str
    """Below `/v1`, as OpenAI's reference writes it: `/models/{model}`."""
    metering: Metering
    summary: str
    charged: bool = True
    """False where the upstream charges nothing; such a request needs no hold."""
    of_models: bool = False
    """Its answer tells of models, and some of the upstream's are other people's."""

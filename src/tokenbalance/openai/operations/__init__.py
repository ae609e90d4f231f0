"""The table of operations. A row here is all it takes to open one; what has no row is closed.

Paths are written as in OpenAI's API reference, below `/v1`; `{...}` stands for one path segment.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.operations.audio import AUDIO
from tokenbalance.openai.operations.containers import CONTAINERS
from tokenbalance.openai.operations.conversations import CONVERSATIONS
from tokenbalance.openai.operations.files import FILES
from tokenbalance.openai.operations.graders import GRADERS
from tokenbalance.openai.operations.images import IMAGES
from tokenbalance.openai.operations.models import MODELS
from tokenbalance.openai.operations.skills import SKILLS
from tokenbalance.openai.operations.stored import STORED
from tokenbalance.openai.operations.stores import STORES
from tokenbalance.openai.operations.text import TEXT
from tokenbalance.openai.operations.voices import VOICES

OPERATIONS: Final = (
    *TEXT,
    *IMAGES,
    *AUDIO,
    *VOICES,
    *FILES,
    *SKILLS,
    *STORES,
    *CONTAINERS,
    *CONVERSATIONS,
    *STORED,
    *GRADERS,
    *MODELS,
)

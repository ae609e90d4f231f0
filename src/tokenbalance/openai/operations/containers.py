"""Containers and their files."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.sessions import NEW_CONTAINER_EXAMPLES
from tokenbalance.openai.families import CONTAINER_SESSIONS
from tokenbalance.openai.operation import Operation

CONTAINERS: Final = (
    Operation(
        "POST",
        "/containers",
        CONTAINER_SESSIONS,
        "New container",
        own_creates=("container:$.id",),
        own_examples=NEW_CONTAINER_EXAMPLES,
    ),
)

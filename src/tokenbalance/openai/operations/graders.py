"""Graders."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.graders import VALIDATED_GRADER
from tokenbalance.openai.families import GRADER
from tokenbalance.openai.operation import Operation

GRADERS: Final = (
    Operation(
        "POST",
        "/fine_tuning/alpha/graders/validate",
        GRADER,
        "Validate a grader",
        own_examples=VALIDATED_GRADER,
    ),
)

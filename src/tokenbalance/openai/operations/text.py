"""Operations on text."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.decisions import DECISION_EXAMPLES, GRADER_EXAMPLES
from tokenbalance.openai.examples.provenance import PROVENANCE_EXAMPLES
from tokenbalance.openai.examples.text import (
    MODERATION_EXAMPLES,
)
from tokenbalance.openai.families import (
    CHAT,
    COMPLETIONS,
    DECISIONS,
    EMBEDDINGS,
    FREE,
    GRADERS,
    INPUT_TOKENS,
    PROVENANCE_CHECKS,
    RESPONSES,
)
from tokenbalance.openai.operation import Operation

TEXT: Final = (
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
    Operation("POST", "/decisions", DECISIONS, "Decisions", own_examples=DECISION_EXAMPLES),
    Operation(
        "POST",
        "/fine_tuning/alpha/graders/run",
        GRADERS,
        "Run a grader",
        own_examples=GRADER_EXAMPLES,
    ),
    Operation(
        "POST",
        "/content_provenance_checks",
        PROVENANCE_CHECKS,
        "Where a file was made",
        own_examples=PROVENANCE_EXAMPLES,
    ),
)

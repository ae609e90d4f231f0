"""The known kinds of operations, each described once for all operations of its kind.

Opening an operation of one of these kinds takes a row in `operations` and nothing else. A new kind
needs a ceiling and, for the documentation, examples.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.ceilings import chat, completions, embeddings, responses
from tokenbalance.openai.ceilings.templates import around_texts, around_turns
from tokenbalance.openai.examples.stored import COMPACTION_EXAMPLES
from tokenbalance.openai.examples.text import (
    CHAT_EXAMPLES,
    COMPLETION_EXAMPLES,
    EMBEDDING_EXAMPLES,
    INPUT_TOKENS_EXAMPLES,
    RESPONSE_EXAMPLES,
)
from tokenbalance.openai.operation import Body, Ceiling, Family, Tariff

TOKENS: Final = Tariff("the charge is `usage.total_tokens`, or what the rate card makes of it")
NOTHING: Final = Tariff("free: nothing is held or charged", is_free=True)

_RESPONSES: Final = Ceiling(
    responses.estimate,
    around_turns,
    "the counted input plus `max_output_tokens` (or the model's maximum)",
    responses.offers,
    responses.uncounted,
)

CHAT: Final = Family(
    tariff=TOKENS,
    ceiling=Ceiling(
        chat.estimate,
        around_turns,
        "the counted messages plus `max_completion_tokens` (or `max_tokens`, or the model's"
        " maximum) for each of `n` choices",
        chat.offers,
    ),
    place="chat",
    reports_on_request=True,
    creates=(
        "chat_completion:$.id",
        "chat_completion:sse:data:$.id",
        "chat_audio:$.choices[].message.audio.id",
    ),
    examples=CHAT_EXAMPLES,
)
COMPLETIONS: Final = Family(
    tariff=TOKENS,
    ceiling=Ceiling(
        completions.estimate,
        around_texts,
        "the prompts plus `max_tokens` (16 if absent) for each of `n` or `best_of` choices",
    ),
    reports_on_request=True,
    examples=COMPLETION_EXAMPLES,
)
EMBEDDINGS: Final = Family(
    tariff=TOKENS,
    ceiling=Ceiling(embeddings.estimate, around_texts, "the counted input"),
    has_output=False,
    examples=EMBEDDING_EXAMPLES,
)
RESPONSES: Final = Family(
    tariff=TOKENS,
    ceiling=_RESPONSES,
    place="responses",
    has_items=True,
    keeps="input",
    creates=(
        "response:$.id",
        "response:sse:response.created:$.response.id",
        "container:$.output[].container_id",
        "item:$.output[].id",
    ),
    derived=(
        "container_file:$.output[].content[].annotations[].file_id",
        "container:$.output[].content[].annotations[].container_id",
        "file:$.output[].results[].file_id",
    ),
    examples=RESPONSE_EXAMPLES,
)
INPUT_TOKENS: Final = Family(
    tariff=NOTHING, ceiling=_RESPONSES, place="responses", examples=INPUT_TOKENS_EXAMPLES
)
"""Counts the input of a response, whose fields it has."""
COMPACT: Final = Family(
    tariff=TOKENS,
    ceiling=Ceiling(
        responses.compaction,
        around_turns,
        "the counted input plus the model's maximum output",
        uncounted=lambda _: responses.COMPACTION,
    ),
    place="responses",
    creates=("item:$.output[].id",),
    streams=False,
    examples=COMPACTION_EXAMPLES,
)
"""Reads the input of a response and makes a shorter one of it."""
FREE: Final = Family(tariff=NOTHING, place="free")
"""Reads a document and is not charged; a row has its own examples."""
GRADER: Final = Family(tariff=NOTHING, place="grader")
"""Reads a document with a grader, which may name models; otherwise like `FREE`."""
CONVERSATION: Final = Family(tariff=NOTHING, place="conversation", keeps="items")
"""Reads a document that may have items of a conversation, and is not charged."""
FORM: Final = Family(tariff=NOTHING, bodies=(Body.FORM,), place="form")
"""Reads a form with files and is not charged; a row has its own examples."""
FORM_OR_JSON: Final = Family(tariff=NOTHING, bodies=(Body.JSON, Body.FORM), place="form")
"""Reads the same fields from a form or a document; otherwise like `FORM`."""
READ: Final = Family(tariff=NOTHING, bodies=())
"""Reads no body and is not charged; a row has its own examples."""

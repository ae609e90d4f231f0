"""The known kinds of operations, each described once for all operations of its kind.

Opening an operation of one of these kinds takes a row in `operations` and nothing else. A new kind
needs a ceiling and, for the documentation, examples.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from tokenbalance.openai.ceilings import (
    chat,
    completions,
    decisions,
    embeddings,
    fees,
    graders,
    images,
    responses,
    speech,
    transcriptions,
)
from tokenbalance.openai.ceilings.templates import around_texts, around_turns
from tokenbalance.openai.examples.audio import (
    SPEECH_EXAMPLES,
    TRANSCRIPTION_EXAMPLES,
    TRANSLATION_EXAMPLES,
)
from tokenbalance.openai.examples.images import EDIT_EXAMPLES, IMAGE_EXAMPLES
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
    uncounted=responses.uncounted,
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

_RECORDING_BYTES_MAX: Final = 26 * 1024 * 1024
"""OpenAI accepts files of 25 MiB; the rest is for the other fields."""

IMAGES: Final = Family(
    tariff=Tariff(
        "the charge is `usage.total_tokens` and the tokens of `svg_usage`, or what the rate card"
        " makes of them; a card may have a rate for an `image` instead"
    ),
    ceiling=Ceiling(
        images.estimate,
        around_texts,
        "the prompt and the images of the request, and `n` images of its size and quality",
        reckon=images.reckon,
    ),
    place="images",
    undivided=("image_output",),
    draws=True,
    switches=("stream",),
    numbers=("frame_count", "n", "partial_images"),
    examples=IMAGE_EXAMPLES,
)
"""Draws images."""
IMAGE_EDITS: Final = replace(IMAGES, bodies=(Body.JSON, Body.FORM), examples=EDIT_EXAMPLES)
"""Draws images from others; a form, or JSON with their URLs or files."""
SPEECH: Final = Family(
    tariff=Tariff(
        "the charge is `usage.total_tokens` of a stream of events; without one it is the tokens of"
        " the text, or what the rate card makes of its characters or tokens"
    ),
    ceiling=Ceiling(
        speech.estimate,
        around_texts,
        "the counted text, and the most audio that it can become where that is reported",
        reckon=speech.reckon,
    ),
    place="speech",
    undivided=("audio_output",),
    examples=SPEECH_EXAMPLES,
)
"""Reads a text aloud."""
TRANSCRIPTIONS: Final = Family(
    tariff=Tariff(
        "the charge is `usage.total_tokens`, or 10 input tokens for each second of audio, rounded"
        " up; a rate card may have a rate for a `second_audio` instead"
    ),
    ceiling=Ceiling(
        transcriptions.estimate,
        around_texts,
        "the length of the audio, read from the file, and the text that so much speech can be",
        reckon=transcriptions.reckon,
    ),
    bodies=(Body.FORM,),
    undivided=("audio_input",),
    form_bytes_max=_RECORDING_BYTES_MAX,
    listens_to="file",
    switches=("stream",),
    examples=TRANSCRIPTION_EXAMPLES,
)
"""Writes down what is said in an audio file."""
TRANSLATIONS: Final = replace(TRANSCRIPTIONS, has_output=False, examples=TRANSLATION_EXAMPLES)
"""The same in English; not streamed."""
DECISIONS: Final = Family(
    tariff=TOKENS,
    ceiling=Ceiling(
        decisions.estimate,
        around_turns,
        "the counted input and questions, and a bound on the answers",
    ),
    place="responses",
    has_output=False,
)
"""Answers questions about an input with numbers; a row has its own examples."""
GRADERS: Final = Family(
    tariff=Tariff("the charge is `metadata.token_usage`, or what the rate card makes of it"),
    ceiling=Ceiling(
        graders.estimate,
        around_texts,
        "the prompts of the graders that ask a model, and their output",
        reckon=graders.reckon,
        names_model=False,
        model_of=graders.model_of,
    ),
    place="grader",
    has_output=False,
    reads=graders.read_report,
)
"""Runs a grader; a row has its own examples."""


def _with_fee(fee: str, covers: str, text: str) -> Family:
    return Family(
        tariff=Tariff(text),
        ceiling=Ceiling(
            partial(fees.estimate, fee),
            around_texts,
            covers,
            reckon=partial(fees.reckon, fee),
            names_model=False,
        ),
        place="free",
        has_output=False,
        fee=fee,
    )


SEARCHES: Final = _with_fee(
    fees.FILE_SEARCH,
    "the counted query and the fee `file_search`",
    "the charge is the tokens of the query, or the rate card's fee `file_search`",
)
"""Searches; a row has its own examples."""
CONTAINER_SESSIONS: Final = _with_fee(
    fees.CONTAINER,
    "the fee `code_interpreter`",
    "the charge is the rate card's fee `code_interpreter`; without a card nothing",
)
"""Starts a container; a row has its own examples."""
VOICES: Final = replace(
    _with_fee(
        fees.VOICE,
        "the fee `voice`",
        "the charge is the rate card's fee `voice`; without one it is refused",
    ),
    bodies=(Body.FORM, Body.JSON),
    place="form",
)
"""Makes a voice; a row has its own examples."""
PROVENANCE_CHECKS: Final = replace(
    _with_fee(
        fees.PROVENANCE_CHECK,
        "the fee `content_provenance_check`",
        "the charge is the rate card's fee `content_provenance_check`; without one it is refused",
    ),
    bodies=(Body.FORM,),
    place="form",
)
"""Looks for signs of where a file was made; a row has its own examples."""

"""Speech, transcriptions, and new voices."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.audio import VOICE_EXAMPLES
from tokenbalance.openai.families import SPEECH, TRANSCRIPTIONS, TRANSLATIONS, VOICES
from tokenbalance.openai.operation import Answer, Operation

AUDIO: Final = (
    Operation("POST", "/audio/speech", SPEECH, "Speech", answer=Answer.BYTES),
    Operation("POST", "/audio/transcriptions", TRANSCRIPTIONS, "Transcription"),
    Operation("POST", "/audio/translations", TRANSLATIONS, "Transcription in English"),
    Operation(
        "POST",
        "/audio/voices",
        VOICES,
        "New voice",
        own_creates=("voice:$.id",),
        own_examples=VOICE_EXAMPLES,
    ),
)

"""Voices, and the consents of the people whose voices they are."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import voices as examples
from tokenbalance.openai.families import FORM, FREE, READ
from tokenbalance.openai.operation import Operation

VOICES: Final = (
    Operation(
        "GET",
        "/audio/voice_consents",
        READ,
        "Consents",
        lists="voice_consent",
        query=("after", "limit"),
        own_examples=examples.CONSENTS,
    ),
    Operation(
        "POST",
        "/audio/voice_consents",
        FORM,
        "Upload a consent",
        own_creates=("voice_consent:$.id",),
        own_examples=examples.NEW_CONSENT,
    ),
    Operation(
        "GET",
        "/audio/voice_consents/{consent_id}",
        READ,
        "One consent",
        uses=("voice_consent",),
        own_examples=examples.CONSENT,
    ),
    Operation(
        "POST",
        "/audio/voice_consents/{consent_id}",
        FREE,
        "Change a consent",
        uses=("voice_consent",),
        own_examples=examples.CHANGED_CONSENT,
    ),
    Operation(
        "DELETE",
        "/audio/voice_consents/{consent_id}",
        READ,
        "Delete a consent",
        uses=("voice_consent",),
        deletes="voice_consent",
        own_examples=examples.DELETED_CONSENT,
    ),
    Operation(
        "DELETE",
        "/audio/voices/{voice_id}",
        READ,
        "Delete a voice",
        uses=("voice",),
        deletes="voice",
        own_examples=examples.DELETED_VOICE,
    ),
)

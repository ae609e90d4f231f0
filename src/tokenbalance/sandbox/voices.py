"""`/audio/voices` and the consents of the people who lend theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Whole, deleted, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept


def _consent(name: str, title: str = "John Doe", language: str = "en-US") -> Document:
    return {
        "id": name,
        "object": "audio.voice_consent",
        "created_at": now(),
        "language": language,
        "name": title,
    }


def _create_consent(call: Call) -> Whole:
    title, language = call.fields.required_text("name"), call.fields.required_text("language")
    recording = call.required_file("recording")
    document = _consent(new_id("cons_"), title, language)
    return Whole(call.memory.keep("voice_consent", document, data=recording.data).document)


def _list_consents(call: Call) -> Whole:
    kept = call.memory.every("voice_consent")
    return page_of([one.document for one in kept], call.query)


def _retrieve_consent(call: Call) -> Whole:
    return Whole(_named_consent(call).document)


def _update_consent(call: Call) -> Whole:
    title = call.fields.required_text("name")
    return Whole(call.memory.change(_named_consent(call), name=title).document)


def _delete_consent(call: Call) -> Whole:
    consent = _named_consent(call)
    call.memory.drop(consent)
    return deleted(consent.id, "audio.voice_consent")


def _named_consent(call: Call) -> Kept:
    return call.named("voice_consent", "consent_id", _consent)


def _voice(name: str, title: str = "My voice") -> Document:
    return {
        "id": name,
        "object": "audio.voice",
        "created_at": now(),
        "name": title,
        "type": "audio_sample",
    }


def _create_voice(call: Call) -> Whole:
    fields = call.fields
    document = _voice(new_id("voice_"), fields.required_text("name"))
    if fields.text("type") == "prompt":
        document |= {"type": "prompt", "prompt": fields.required_text("prompt")}
        return Whole(call.memory.keep("voice", document).document)
    name = fields.required_text("consent")
    if call.memory.found_or_example("voice_consent", name, _consent) is None:
        raise no_such_object("voice_consent", name)
    sample = call.required_file("audio_sample")
    return Whole(call.memory.keep("voice", document, data=sample.data).document)


def _delete_voice(call: Call) -> Whole:
    voice = call.named("voice", "voice_id", _voice)
    call.memory.drop(voice)
    return deleted(voice.id, "audio.voice.deleted")


VOICES: Final[Mapping[str, Endpoint]] = {
    "POST /audio/voice_consents": _create_consent,
    "GET /audio/voice_consents": _list_consents,
    "GET /audio/voice_consents/{consent_id}": _retrieve_consent,
    "POST /audio/voice_consents/{consent_id}": _update_consent,
    "DELETE /audio/voice_consents/{consent_id}": _delete_consent,
    "POST /audio/voices": _create_voice,
    "DELETE /audio/voices/{voice_id}": _delete_voice,
}

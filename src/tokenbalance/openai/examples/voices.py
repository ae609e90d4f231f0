"""Examples of voices, and of the consents of the people whose voices they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, deleted, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_CONSENT_ID: Final = "cons_123"
_VOICE_ID: Final = "voice_123"
_CONSENT: Final[Document] = {
    "id": _CONSENT_ID,
    "object": "audio.voice_consent",
    "created_at": CREATED,
    "name": "Ada",
    "language": "en-US",
}
_AT_CONSENT: Final = {"consent_id": _CONSENT_ID}

CONSENTS: Final = read(page_of(_CONSENT))
NEW_CONSENT: Final = Examples(
    {"A recording": {"name": "Ada", "language": "en-US", "recording": "@consent.wav"}}, _CONSENT
)
CONSENT: Final = read(_CONSENT, _AT_CONSENT)
CHANGED_CONSENT: Final = Examples({"Its name": {"name": "Ada"}}, _CONSENT, parameters=_AT_CONSENT)
DELETED_CONSENT: Final = read(deleted(_CONSENT_ID, "audio.voice_consent"), _AT_CONSENT)
DELETED_VOICE: Final = read(deleted(_VOICE_ID, "audio.voice.deleted"), {"voice_id": _VOICE_ID})

"""Examples of operations on audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_TEXT: Final = "Hello! How are you today?"
_FILE: Final[Document] = {"filename": "hello.mp3", "content_type": "audio/mpeg", "size": 32160}
_SPEECH: Final[Document] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": _TEXT}
_TRANSCRIPTION: Final[Document] = {
    "model": "gpt-4o-mini-transcribe",
    "file": _FILE,
    "response_format": "json",
}
_TRANSLATION: Final[Document] = {
    "model": "whisper-1",
    "file": _FILE,
    "response_format": "verbose_json",
}

SPEECH_EXAMPLES: Final = Examples(
    {"Audio": _SPEECH, "Events": {**_SPEECH, "stream_format": "sse"}},
    {"audio": "the bytes of an audio file, in `response_format`"},
    'data: {"type":"speech.audio.delta","audio":"//uQxAAA"}\n\n'
    'data: {"type":"speech.audio.done","usage":{"input_tokens":9,"output_tokens":42,'
    '"total_tokens":51}}\n\n',
)
TRANSCRIPTION_EXAMPLES: Final = Examples(
    {"In one piece": _TRANSCRIPTION, "Streamed": {**_TRANSCRIPTION, "stream": True}},
    {
        "text": _TEXT,
        "usage": {
            "type": "tokens",
            "input_tokens": 20,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 20},
            "output_tokens": 7,
            "total_tokens": 27,
        },
    },
    'data: {"type":"transcript.text.delta","delta":"Hello!"}\n\n'
    'data: {"type":"transcript.text.done","text":"Hello!","usage":{"type":"tokens",'
    '"input_tokens":20,"input_token_details":{"text_tokens":0,"audio_tokens":20},'
    '"output_tokens":2,"total_tokens":22}}\n\n',
)
TRANSLATION_EXAMPLES: Final = Examples(
    {"With times": _TRANSLATION},
    {
        "task": "translate",
        "language": "english",
        "duration": 2.0,
        "text": _TEXT,
        "segments": [],
    },
)
VOICE_EXAMPLES: Final = Examples(
    {
        "From a sample": {
            "name": "Narrator",
            "consent": "cons_123",
            "audio_sample": {
                "filename": "sample.wav",
                "content_type": "audio/wav",
                "size": 480044,
            },
        }
    },
    {"id": "voice_123", "object": "audio.voice", "name": "Narrator", "created_at": 1893456000},
)

"""`/audio/transcriptions` and `/audio/translations`: a text as long as the sound that was sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.counting import count_text
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE
from tokenbalance.sandbox.fields import invalid_value
from tokenbalance.sandbox.replies import Content, Stream, Whole, event
from tokenbalance.sandbox.sounds import seconds_of
from tokenbalance.sandbox.speech import WORDS_A_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.replies import Reply

AUDIO_TOKENS_A_SECOND: Final = 10
WORDS_MAX: Final = 5_000

_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_SENTENCE: Final = (
    "this is what the sandbox heard it does not listen but it knows how long a sound is and says "
    "as many words as fit"
)


@dataclass(frozen=True, slots=True)
class _Heard:
    """A sound, and what is said of it."""

    model: str
    text: str
    seconds: float
    prompt: str

    @property
    def usage(self) -> Document | None:
        """What is charged: seconds for whisper, tokens for all others."""
        if self.model == MODEL_WITHOUT_USAGE:
            return None
        if self.model.startswith("whisper"):
            return self.duration
        audio = max(round(self.seconds * AUDIO_TOKENS_A_SECOND), 1)
        said, written = count_text(self.prompt, self.model), count_text(self.text, self.model)
        return {
            "type": "tokens",
            "input_tokens": audio + said,
            "input_token_details": {"audio_tokens": audio, "text_tokens": said},
            "output_tokens": written,
            "total_tokens": audio + said + written,
        }

    @property
    def duration(self) -> Document:
        return {"type": "duration", "seconds": self.seconds}


def _transcribe(call: Call) -> Reply:
    heard = _heard(call)
    if call.fields.flag("stream"):
        return Stream(tuple(_events(heard)))
    return _written(call, heard, heard.usage)


def _translate(call: Call) -> Reply:
    # Translations report no usage.
    return _written(call, _heard(call), None)


def _heard(call: Call) -> _Heard:
    model = call.fields.required_text("model")
    file = call.required_file("file")
    seconds = seconds_of(file.data, file.size)
    words = min(max(round(seconds * WORDS_A_SECOND), 1), WORDS_MAX)
    text = " ".join(islice(cycle(_SENTENCE.split()), words))
    return _Heard(model, text, seconds, call.fields.text("prompt") or "")


def _written(call: Call, heard: _Heard, usage: Document | None) -> Reply:
    form = call.fields.text("response_format") or "json"
    if form not in _FORMATS:
        raise invalid_value("response_format", form, _FORMATS)
    counted: Document = {} if usage is None else {"usage": usage}
    match form:
        case "text":
            return Content(f"{heard.text}\n".encode(), "text/plain; charset=utf-8")
        case "srt":
            return Content(_subtitles(heard, "", ",").encode(), "text/plain; charset=utf-8")
        case "vtt":
            return Content(_subtitles(heard, "WEBVTT\n\n", ".").encode(), "text/vtt; charset=utf-8")
        case "verbose_json":
            timed = {"usage": heard.duration} if counted else {}
            return Whole({**_verbose(heard), **timed})
        case "diarized_json":
            return Whole({**_diarized(heard), **counted})
        case _:
            return Whole({"text": heard.text, **counted})


def _subtitles(heard: _Heard, head: str, point: str) -> str:
    end = f"{int(heard.seconds // 60):02}:{heard.seconds % 60:06.3f}".replace(".", point)
    return f"{head}1\n00:00:00{point}000 --> 00:{end}\n{heard.text}\n\n"


def _verbose(heard: _Heard) -> Document:
    segment: Document = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": heard.seconds,
        "text": heard.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    return {
        "task": "transcribe",
        "language": "english",
        "duration": heard.seconds,
        "text": heard.text,
        "segments": [segment],
    }


def _diarized(heard: _Heard) -> Document:
    segments: list[Json] = [
        {
            "id": "seg_001",
            "type": "transcript.text.segment",
            "speaker": "A",
            "start": 0.0,
            "end": heard.seconds,
            "text": heard.text,
        }
    ]
    return {
        "task": "transcribe",
        "duration": heard.seconds,
        "text": heard.text,
        "segments": segments,
    }


def _events(heard: _Heard) -> Iterator[bytes]:
    for index, word in enumerate(heard.text.split()):
        delta = f" {word}" if index else word
        yield event({"type": "transcript.text.delta", "delta": delta})
    done: Document = {"type": "transcript.text.done", "text": heard.text}
    usage = heard.usage
    # The types of this event have no seconds.
    if usage is not None and usage["type"] == "tokens":
        done["usage"] = usage
    yield event(done)


TRANSCRIPTIONS: Final[Mapping[str, Endpoint]] = {
    "POST /audio/transcriptions": _transcribe,
    "POST /audio/translations": _translate,
}

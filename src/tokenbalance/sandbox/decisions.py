"""`/decisions`: the first choice, a middle score, and yes as often as no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE
from tokenbalance.sandbox.fields import Fields, invalid_value, missing
from tokenbalance.sandbox.replies import Whole, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint

ANSWER_TOKENS: Final = 1
_KINDS: Final = ("predicate", "choice", "score")


def _decide(call: Call) -> Whole:
    fields = call.fields
    model = fields.required_text("model")
    _ = fields.required("input"), fields.required("questions")
    questions = fields.objects("questions")
    if not questions:
        raise missing("questions")
    answers: list[Json] = [_answer(question) for question in questions]
    document: Document = {"model": model, "answers": answers}
    if model != MODEL_WITHOUT_USAGE:
        document["usage"] = _usage(fields, len(questions))
    return Whole(document)


def _answer(question: Fields) -> Document:
    kind = question.required_text("type")
    named: Document = {"type": kind, "name": question.text("name")}
    match kind:
        case "predicate":
            return {**named, "probability": 0.5}
        case "choice":
            return {**named, **_choice([one.value("value") for one in question.objects("choices")])}
        case "score":
            return {**named, **_score([one.value("label") for one in question.objects("levels")])}
        case _:
            raise invalid_value(question.path_of("type"), kind, _KINDS)


def _choice(values: list[Json]) -> Document:
    share = round(1 / max(len(values), 1), 4)
    probabilities: list[Json] = [{"value": value, "probability": share} for value in values]
    chosen = values[0] if values else ""
    return {"choice": chosen, "confidence": share, "probabilities": probabilities}


def _score(labels: list[Json]) -> Document:
    share = round(1 / max(len(labels), 1), 4)
    probabilities: list[Json] = [
        {"label": label, "value": value, "probability": share}
        for value, label in enumerate(labels, 1)
    ]
    return {
        "score": (len(labels) + 1) / 2,
        "confidence": share,
        "probabilities": probabilities,
    }


def _usage(fields: Fields, answers: int) -> Document:
    read = counting.response_tokens(fields) + counting.words_tokens(fields.value("questions"))
    written = answers * ANSWER_TOKENS
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def _check_provenance(call: Call) -> Whole:
    _ = call.required_file("file")
    results: list[Json] = [
        {"type": "c2pa", "outcome": "not_detected", "validation_state": "not_present"},
        {"type": "synthid", "outcome": "not_detected"},
    ]
    return Whole({"object": "content_provenance_check", "created_at": now(), "results": results})


DECISIONS: Final[Mapping[str, Endpoint]] = {
    "POST /decisions": _decide,
    "POST /content_provenance_checks": _check_provenance,
}

"""What a run of a grader may cost: one request to a model for each grader that asks one.

The prompts are templates, into which the sample and the item are written as often as they name
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidValue
from tokenbalance.model import OPENAI, Estimate, Usage
from tokenbalance.openai.ceilings.chat import LARGEST_CAP
from tokenbalance.openai.ceilings.schemas import json_tokens
from tokenbalance.openai.documents import (
    optional_integer,
    optional_object,
    path_of,
    require,
    require_object,
    require_string,
)
from tokenbalance.openai.tokens.models import check_model_name, model_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

_ASKING: Final = frozenset({"label_model", "score_model"})
"""Types of graders that ask a model; others compute."""
_FRAME: Final = 1_024
"""Instructions that the upstream adds for a score or a label."""
_GRADER: Final = "grader"


def estimate(document: Document, _model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a run, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: this caller may not use a model of that name.
    """
    written = json_tokens(document.get("item"), measure)
    written += json_tokens(document.get("model_sample"), measure)
    inputs = outputs = 0
    for grader, at in _asking(document):
        name = require_string(grader, "model", at=at)
        check_model_name(name, OPENAI)
        sampling = optional_object(grader, "sampling_params", at=at) or {}
        sampling_at = path_of(at, "sampling_params")
        cap = optional_integer(
            sampling, "max_completions_tokens", minimum=1, maximum=LARGEST_CAP, at=sampling_at
        )
        inputs += _FRAME + json_tokens(grader, measure) + _places(grader) * written
        outputs += cap or model_for(name).maximum_output
    return Estimate(inputs, output_cap=outputs, has_media=bool(inputs))


def reckon(document: Document, model: Model, measure: Measure) -> Usage:
    """Return what a run has used that reports nothing: the prompts of its graders."""
    return Usage.counted(estimate(document, model, measure).input_tokens, 0)


def model_of(document: Document) -> str | None:
    """The model of all graders that ask one; None if none does.

    Raises:
        InvalidValue: they ask different ones.
    """
    names = {require_string(grader, "model", at=at) for grader, at in _asking(document)}
    if len(names) > 1:
        msg = "Invalid 'grader.graders': graders of one run must use the same model here."
        raise InvalidValue(msg, param="grader.graders")
    return next(iter(names), None)


def read_report(document: Document) -> Usage | None:
    """Read the tokens that a run reports: by model, else their sum."""
    inputs = outputs = 0
    by_model = document.get("model_grader_token_usage_per_model")
    for used in (by_model if isinstance(by_model, dict) else {}).values():
        if isinstance(used, dict):
            inputs += _count(used.get("prompt_tokens"))
            outputs += _count(used.get("completion_tokens"))
    metadata = document.get("metadata")
    total = _count(metadata.get("token_usage")) if isinstance(metadata, dict) else 0
    if not isinstance(metadata, dict):
        return None
    return Usage({"input": inputs, "output": outputs}, max(total, inputs + outputs))


def _count(value: Json) -> int:
    return value if type(value) is int and 0 <= value <= 2**53 else 0


def _asking(document: Document) -> Iterator[tuple[Document, str]]:
    grader = require_object(require(document, _GRADER), _GRADER)
    pending: list[tuple[Document, str]] = [(grader, _GRADER)]
    while pending:
        each, at = pending.pop()
        if each.get("type") in _ASKING or each.get("model") is not None:
            yield each, at
        inner = optional_object(each, "graders", at=at) or {}
        for name, one in inner.items():
            one_at = path_of(path_of(at, "graders"), name)
            pending.append((require_object(one, one_at), one_at))


def _places(value: Json) -> int:
    """How often templates write something of the sample or the item."""
    if isinstance(value, str):
        return value.count("{{")
    if isinstance(value, dict):
        return sum(map(_places, value.values()))
    return sum(map(_places, value)) if isinstance(value, list) else 0

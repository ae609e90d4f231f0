"""The second question of a request: what may it cost at most?

Pure: no I/O, no clock. It reads fields and says a ceiling, or refuses with the error that the
upstream would give for a field that decides the cost. What things cost is in `tokens`; this file
only finds the rule and says which of two measures to use. It knows no balance and no hold.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from tokenbalance.model import OPENAI, Usage
from tokenbalance.openai.ceilings import chat, completions, embeddings, responses
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.templates import with_template
from tokenbalance.openai.documents import optional_boolean, optional_object, require_string
from tokenbalance.openai.operation import Metering
from tokenbalance.openai.tokens.counting import byte_bound, count_tokens
from tokenbalance.openai.tokens.models import check_model_name, encoding_of, model_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.model import Document, Estimate, UpstreamTraits
    from tokenbalance.openai.operation import Operation
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

UNASKED_CAP: Final = 512
"""Output tokens that a server which is not OpenAI is told at most where the client names no limit
and the balance does not cover all that may come. Servers stop at the end of their context (which
may be as small as this) or after 1,024 tokens by themselves: a larger limit fails, or costs more.
"""

_RULES: Final[dict[Metering, Callable[[Document, Model, Measure], Estimate]]] = {
    Metering.CHAT: chat.estimate,
    Metering.COMPLETIONS: completions.estimate,
    Metering.EMBEDDINGS: embeddings.estimate,
    Metering.RESPONSES: responses.estimate,
}

_GATEWAYS_OWN: Final = ("extra_body", "fallbacks", "models")
"""What LiteLLM, OpenRouter and their like read beside OpenAI's fields."""


def bound(endpoint: Operation, document: Document, upstream: UpstreamTraits = OPENAI) -> Estimate:
    """The ceiling by the bytes of the request's text: cheap, never below `count`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: the model's name is not one that this caller may use.
    """
    model = _model(document, upstream)
    return _estimate(endpoint, document, model, byte_bound, upstream)


def count(endpoint: Operation, document: Document, upstream: UpstreamTraits = OPENAI) -> Estimate:
    """The ceiling with the request's text counted: near the truth, but a matter of CPU time.

    Where the model's vocabulary is not known, bytes are the nearest that is never too little.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: the model's name is not one that this caller may use.
    """
    model = _model(document, upstream)
    measure = byte_bound if model.is_foreign else _counting(model)
    return replace(_estimate(endpoint, document, model, measure, upstream), counted=True)


class UsageCounter:
    """Counts what a request has used when the upstream does not say: its input, and texts.

    Called again with a text that goes on from the one before, it counts what is new only. It is
    an estimate where the model's vocabulary is not known, not a ceiling.
    """

    def __init__(
        self, endpoint: Operation, document: Document, upstream: UpstreamTraits = OPENAI
    ) -> None:
        self.endpoint = endpoint
        self.document = document
        self._upstream = upstream
        self._counted: dict[int, tuple[str, int]] = {}
        # A renewal of the lease may count in one thread while the end is counted in another.
        self._lock = threading.Lock()

    def __call__(self, *texts: str) -> Usage:
        """Count the input, and a text for each choice; a matter of CPU time."""
        with self._lock:
            output = sum(self._count(choice, text) for choice, text in enumerate(texts))
            total = self._input + output
            return Usage(input=self._input, output=output, total=total, estimated=True)

    def _count(self, choice: int, text: str) -> int:
        before, tokens = self._counted.get(choice, ("", 0))
        if not text.startswith(before):
            before, tokens = "", 0
        tokens += _counting(self._model)(text[len(before) :])
        self._counted[choice] = text, tokens
        return tokens

    def input_bound(self) -> int:
        """The most tokens that the input may be, without counting them."""
        return bound(self.endpoint, self.document, self._upstream).input_tokens

    @cached_property
    def _model(self) -> Model:
        return _model(self.document, self._upstream)

    @cached_property
    def _input(self) -> int:
        rule = _RULES[self.endpoint.metering]
        return rule(self.document, self._model, _counting(self._model)).known_input


def _counting(model: Model) -> Measure:
    return partial(count_tokens, encoding_of(model))


def _model(document: Document, upstream: UpstreamTraits) -> Model:
    name = require_string(document, "model")
    check_model_name(name, upstream)
    return model_for(name, upstream)


def _estimate(
    endpoint: Operation,
    document: Document,
    model: Model,
    measure: Measure,
    upstream: UpstreamTraits,
) -> Estimate:
    _check_streaming(document)
    if not upstream.is_openai:
        _refuse_other_models(document)
    if model.is_foreign:
        model = with_template(model, document, endpoint.metering)
    estimate = _RULES[endpoint.metering](document, model, measure)
    for field in estimate.cap_fields:
        if document.get(field) is not None:
            return estimate
    return _without_limit(estimate, model, upstream.default_output_limit)


def _refuse_other_models(document: Document) -> None:
    """Refuse what lets a gateway answer by another model, or by other limits, than those priced."""
    for field in _GATEWAYS_OWN:
        if document.get(field) is not None:
            raise unsupported(field)


def _without_limit(estimate: Estimate, model: Model, default: int | None) -> Estimate:
    """The ceiling of a request that names no limit of its output, or produces none."""
    if not estimate.cap_fields:
        return estimate
    if default is not None:
        cap = min(default, model.maximum_output if model.is_foreign else estimate.output_cap)
        told = model.is_foreign or cap < estimate.output_cap
        return replace(estimate, output_cap=cap, tells_cap=told)
    if model.is_foreign and not estimate.tells_cap:
        return replace(estimate, unasked_cap=UNASKED_CAP)
    return estimate


def _check_streaming(document: Document) -> None:
    """See that it is plain whether the answer is a stream, and whether it reports its usage."""
    optional_boolean(document, "stream")
    options = optional_object(document, "stream_options")
    if options is not None:
        optional_boolean(options, "include_usage", at="stream_options")

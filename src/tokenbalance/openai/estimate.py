"""The second question of a request: what may it cost at most?

Pure: no I/O, no clock. It returns the ceiling of a document, or raises the error that the upstream
would return for a field that decides the cost. The rule is the operation's own; this file says
which of two measures it is given, and what holds for every rule. It knows no balance and no hold.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from tokenbalance.model import OPENAI, Estimate, Usage
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.documents import optional_boolean, optional_object, require_string
from tokenbalance.openai.tokens.counting import (
    LimitedCount,
    byte_bound,
    count_tokens,
    least_tokens,
)
from tokenbalance.openai.tokens.models import (
    checked_model,
    encoding_of,
    model_for,
    vocabulary_of,
)
from tokenbalance.openai.tokens.vocabularies import loading

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tokenbalance.model import Document, Stored, UpstreamTraits
    from tokenbalance.openai.operation import Ceiling, Operation
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

UNASKED_CAP: Final = 512
"""Output tokens at most, as sent to a server that is not OpenAI, where the client sets no limit and
the balance does not cover the longest possible output. Such servers stop by themselves after 1,024
tokens or at the end of their context (which may be as small as this): a larger limit fails, or
costs more.
"""
NO_COST: Final = Estimate(0)
"""The ceiling of a request to an operation that has none."""

_GATEWAYS_OWN: Final = ("extra_body", "fallbacks", "models")
"""What gateways such as LiteLLM and OpenRouter read in addition to OpenAI's fields."""


def bound(operation: Operation, document: Document, upstream: UpstreamTraits = OPENAI) -> Estimate:
    """Return the ceiling by the bytes of the request's text: cheap, never below `count`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: this caller may not use a model of that name.
    """
    ceiling = operation.ceiling
    if ceiling is None:
        return NO_COST
    if ceiling.fixed is not None:
        if document.get("stream"):
            raise unsupported("stream", "Nothing is known of this endpoint.")
        return Estimate(ceiling.fixed, counted=True)
    model = _model(ceiling, document, upstream)
    return _estimate(ceiling, document, model, byte_bound, upstream)


def least(operation: Operation, document: Document, upstream: UpstreamTraits = OPENAI) -> Estimate:
    """Return what `count` returns or less, by the bytes of the request's text: cheap.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: this caller may not use a model of that name.
    """
    ceiling = operation.ceiling
    if ceiling is None or ceiling.fixed is not None:
        return bound(operation, document, upstream)
    model = _model(ceiling, document, upstream)
    measure = byte_bound if model.is_foreign else partial(least_tokens, vocabulary_of(model))
    return _estimate(ceiling, document, model, measure, upstream)


def loading_for(
    operation: Operation, document: Document, upstream: UpstreamTraits = OPENAI
) -> Future[object] | None:
    """What to wait for before `count` does nothing but count; None if it needs no wait.

    Raises:
        InvalidRequest: the model is missing or wrong.
        ModelNotFound: this caller may not use a model of that name.
    """
    if operation.ceiling is None or operation.ceiling.fixed is not None:
        return None
    model = _model(operation.ceiling, document, upstream)
    return None if model.is_foreign else loading(vocabulary_of(model))


def count(
    operation: Operation,
    document: Document,
    upstream: UpstreamTraits = OPENAI,
    most: float = math.inf,
    is_given_up: Callable[[], bool] | None = None,
) -> Estimate:
    """Return the ceiling with the request's text counted: near the truth, but CPU-bound.

    Where the model's vocabulary is not known, bytes are the nearest measure that is never too low.

    Args:
        operation: what is asked for.
        document: the request.
        upstream: the properties of the upstream.
        most: tokens of text after which counting stops. If there are more, the estimate is not
            marked as counted and may be too low: it says only that the request needs at least that.
        is_given_up: whether nobody wants the count any more, so that it may stop as well.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: this caller may not use a model of that name.
    """
    ceiling = operation.ceiling
    if ceiling is None or ceiling.fixed is not None:
        return bound(operation, document, upstream)
    model = _model(ceiling, document, upstream)
    if model.is_foreign or (is_given_up is None and most == math.inf):
        measure = byte_bound if model.is_foreign else _counting(model)
        return replace(_estimate(ceiling, document, model, measure, upstream), counted=True)
    limited = LimitedCount(encoding_of(model), most, is_given_up)
    estimate = _estimate(ceiling, document, model, limited, upstream)
    return replace(estimate, counted=not limited.stopped)


def reading(
    operation: Operation,
    estimate: Estimate,
    stored: Stored | None,
    document: Document,
    upstream: UpstreamTraits = OPENAI,
) -> Estimate:
    """Add to a ceiling what the model reads besides what the request shows.

    Args:
        operation: what is asked for.
        estimate: the ceiling of what is shown.
        stored: what is read besides; None: nothing.
        document: the request, for which the estimate was made.
        upstream: the properties of the upstream.

    """
    if stored is None or operation.ceiling is None:
        return estimate
    return estimate.with_stored(stored, _model(operation.ceiling, document, upstream).context)


class UsageCounter:
    """Counts what a request has used when the upstream does not report it: input and output texts.

    To these it adds the most that the model reads of what is stored. Called again with a text that
    continues the one before, it counts only what is new. The result is an estimate where the
    model's vocabulary is not known, not a ceiling.
    """

    def __init__(
        self,
        endpoint: Operation,
        document: Document,
        upstream: UpstreamTraits = OPENAI,
        stored: Stored | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.document = document
        self._upstream = upstream
        self._stored = stored
        self._counted: dict[int, tuple[str, int]] = {}
        # One thread may count for a renewal of the lease while another counts the end.
        self._lock = threading.Lock()

    def __call__(self, *texts: str) -> Usage:
        """Count the input, and a text for each choice; CPU-bound."""
        ceiling = self.endpoint.ceiling
        if ceiling is not None and ceiling.fixed is not None:
            return Usage.counted(ceiling.fixed, 0)
        if ceiling is not None and ceiling.reckon is not None:
            return ceiling.reckon(self.document, self._model, _counting(self._model))
        with self._lock:
            output = sum(self._count(choice, text) for choice, text in enumerate(texts))
            return Usage.counted(self._input, output)

    def _count(self, choice: int, text: str) -> int:
        before, tokens = self._counted.get(choice, ("", 0))
        if not text.startswith(before):
            before, tokens = "", 0
        tokens += _counting(self._model)(text[len(before) :])
        self._counted[choice] = text, tokens
        return tokens

    def input_bound(self) -> int:
        """The most tokens that the input may have, without counting them."""
        shown = bound(self.endpoint, self.document, self._upstream)
        return reading(
            self.endpoint, shown, self._stored, self.document, self._upstream
        ).input_tokens

    @cached_property
    def _model(self) -> Model:
        ceiling = self.endpoint.ceiling
        if ceiling is None:
            return model_for(require_string(self.document, "model"), self._upstream)
        return _model(ceiling, self.document, self._upstream)

    @cached_property
    def _input(self) -> int:
        ceiling = self.endpoint.ceiling
        if ceiling is None:
            return 0
        shown = ceiling.rule(self.document, self._model, _counting(self._model))
        return reading(
            self.endpoint, shown, self._stored, self.document, self._upstream
        ).known_input


def _counting(model: Model) -> Measure:
    return partial(count_tokens, encoding_of(model))


def _model(ceiling: Ceiling, document: Document, upstream: UpstreamTraits) -> Model:
    if not ceiling.names_model:
        return model_for("", upstream)
    return checked_model(require_string(document, "model"), upstream)


def _estimate(
    ceiling: Ceiling,
    document: Document,
    model: Model,
    measure: Measure,
    upstream: UpstreamTraits,
) -> Estimate:
    _check_streaming(document)
    if not upstream.is_openai:
        _refuse_other_models(document)
    if model.is_foreign:
        model = ceiling.template(model, document)
    estimate = ceiling.rule(document, model, measure)
    for field in estimate.cap_fields:
        if document.get(field) is not None:
            return estimate
    return _without_limit(estimate, model, upstream.default_output_limit)


def _refuse_other_models(document: Document) -> None:
    """Refuse fields by which a gateway would use a model or limits that were not priced."""
    for field in _GATEWAYS_OWN:
        if document.get(field) is not None:
            raise unsupported(field)


def _without_limit(estimate: Estimate, model: Model, default: int | None) -> Estimate:
    """Return the ceiling of a request that does not limit its output, or has none."""
    if not estimate.cap_fields:
        return estimate
    if default is not None:
        cap = min(default, model.maximum_output if model.is_foreign else estimate.output_cap)
        tells_cap = model.is_foreign or cap < estimate.output_cap
        return replace(estimate, output_cap=cap, tells_cap=tells_cap)
    if model.is_foreign and not estimate.tells_cap:
        return replace(estimate, unasked_cap=UNASKED_CAP)
    return estimate


def _check_streaming(document: Document) -> None:
    """Make sure that the document says plainly whether it asks for a stream, and for its usage."""
    optional_boolean(document, "stream")
    options = optional_object(document, "stream_options")
    if options is not None:
        optional_boolean(options, "include_usage", at="stream_options")

"""The second question of a request: what may it cost at most?

Pure: no I/O, no clock. It reads fields and says a ceiling, or refuses with the error that the
upstream would give for a field that decides the cost. What things cost is in `tokens`; this file
only finds the rule and says which of two measures to use. It knows no balance and no hold.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from tokenbalance.document import optional_boolean, optional_object, require_string
from tokenbalance.model import Metering
from tokenbalance.tokens import chat, completions, embeddings, responses
from tokenbalance.tokens.counting import byte_bound, count_tokens
from tokenbalance.tokens.models import check_model_name, encoding_for, model_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.model import Document, Endpoint, Estimate
    from tokenbalance.tokens.counting import Measure
    from tokenbalance.tokens.models import Model

_RULES: Final[dict[Metering, Callable[[Document, Model, Measure], Estimate]]] = {
    Metering.CHAT: chat.estimate,
    Metering.COMPLETIONS: completions.estimate,
    Metering.EMBEDDINGS: embeddings.estimate,
    Metering.RESPONSES: responses.estimate,
}


def bound(endpoint: Endpoint, document: Document) -> Estimate:
    """The ceiling by the bytes of the request's text: cheap, never below `count`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: the model's name is not one that this caller may use.
    """
    return _estimate(endpoint, document, byte_bound)


def count(endpoint: Endpoint, document: Document) -> Estimate:
    """The ceiling with the request's text counted: near the truth, but a matter of CPU time.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
        ModelNotFound: the model's name is not one that this caller may use.
    """
    encoding = encoding_for(require_string(document, "model"))
    return replace(_estimate(endpoint, document, partial(count_tokens, encoding)), counted=True)


def _estimate(endpoint: Endpoint, document: Document, measure: Measure) -> Estimate:
    name = require_string(document, "model")
    check_model_name(name)
    _check_streaming(document)
    return _RULES[endpoint.metering](document, model_for(name), measure)


def _check_streaming(document: Document) -> None:
    optional_boolean(document, "stream")
    options = optional_object(document, "stream_options") or {}
    for field in options:
        optional_boolean(options, field, at="stream_options")

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

from tokenbalance.document import optional_boolean, optional_object, require_string
from tokenbalance.endpoints.references import references
from tokenbalance.model import Metering, Usage
from tokenbalance.tokens import chat, completions, embeddings, responses
from tokenbalance.tokens.counting import byte_bound, count_tokens
from tokenbalance.tokens.media import unsupported
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

_INSTEAD: Final = {
    "container": 'Leave it out: a container of the request\'s own is `{"type": "auto"}`.',
    "conversation": "Send the whole conversation as `input`.",
    "file": "Send the file itself, as `file_data` or in a data URL.",
    "image": "Send the image itself: with `store: false` clients do.",
    "item": "It is an `item_reference`, which only the upstream can look up. Send the item itself:"
    " with `store: false` clients do.",
    "reasoning": "Send it with its `encrypted_content`, which comes with `store: false` and"
    ' `include: ["reasoning.encrypted_content"]`, or leave the item out.',
    "response": "Send the whole conversation as `input`: with `store: false` clients do.",
}
"""What avoids a reference, by the kind of thing that it names."""


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


class UsageCounter:
    """Counts what a request has used when the upstream does not say: its input, and texts.

    Called again with a text that goes on from the one before, it counts what is new only.
    """

    def __init__(self, endpoint: Endpoint, document: Document) -> None:
        self.endpoint = endpoint
        self.document = document
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
        encoding = encoding_for(require_string(self.document, "model"))
        tokens += count_tokens(encoding, text[len(before) :])
        self._counted[choice] = text, tokens
        return tokens

    def input_bound(self) -> int:
        """The most tokens that the input may be, without counting them."""
        return bound(self.endpoint, self.document).input_tokens

    @cached_property
    def _input(self) -> int:
        return count(self.endpoint, self.document).input_tokens


def _estimate(endpoint: Endpoint, document: Document, measure: Measure) -> Estimate:
    name = require_string(document, "model")
    check_model_name(name)
    _refuse_others(endpoint, document)
    _check_streaming(document)
    return _RULES[endpoint.metering](document, model_for(name), measure)


def _refuse_others(endpoint: Endpoint, document: Document) -> None:
    """Refuse what the upstream keeps: who owns it is not known here."""
    for reference in references(endpoint.metering, document):
        raise unsupported(reference.param, _INSTEAD.get(reference.kind, ""))


def _check_streaming(document: Document) -> None:
    optional_boolean(document, "stream")
    options = optional_object(document, "stream_options") or {}
    for field in options:
        optional_boolean(options, field, at="stream_options")

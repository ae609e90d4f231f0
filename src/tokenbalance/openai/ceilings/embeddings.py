"""What embeddings may cost: the texts, and no output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.completions import texts_tokens
from tokenbalance.openai.ceilings.schemas import unread_tokens

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FIELDS: Final = frozenset({"dimensions", "encoding_format", "input", "model", "user"})


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of embeddings, their texts measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    _, tokens = texts_tokens(document, "input", measure)
    unread = unread_tokens(document, FIELDS, measure)
    return Estimate(input_tokens=tokens + model.overhead + unread)

"""The rates of a request: those of the operator's card, or why it has none for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.books.pricing.rate_card import UnpricedModel, UnpricedRequest
from tokenbalance.openai.ceilings.fees import WITHOUT_EQUIVALENT
from tokenbalance.openai.conditions import conditions_of
from tokenbalance.proxy.unpriced import no_fee, refusal_of

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import Document, Rates
    from tokenbalance.openai.operation import Operation


def rates_of(rate_card: RateCard | None, operation: Operation, document: Document) -> Rates | None:
    """Find what a request costs.

    Args:
        rate_card: the operator's; None: a token is a credit.
        operation: what is asked for.
        document: the request.

    Returns:
        None: a token is a credit, or it costs nothing.

    Raises:
        ModelNotFound: the card has no rate for its model, or for the model of one of its tools.
        ServiceTierNotAllowed, ToolNotAllowed: it has none for its service tier, or for a tool.
        EndpointNotAllowed: it has none for what the operation does.

    """
    if rate_card is None:
        if operation.family.fee in WITHOUT_EQUIVALENT:
            raise no_fee(operation)
        return None
    model = priced_model(operation, document)
    if model is None and operation.ceiling is not None and operation.ceiling.model_of is not None:
        # A grader that asks no model.
        return None
    conditions = conditions_of(operation, document)
    try:
        rates = rate_card.rates_for(model or "", conditions)
        if rates.is_for_counts and _is_of_tokens(operation):
            raise UnpricedModel(model or "")
    except UnpricedRequest as error:
        raise refusal_of(error, operation, document) from None
    return rates


def _is_of_tokens(operation: Operation) -> bool:
    """Whether tokens are all that its responses are charged by."""
    ceiling = operation.ceiling
    return ceiling is not None and ceiling.reckon is None


def priced_model(operation: Operation, document: Document) -> str | None:
    """The model whose row of a card prices a request, or the name of a fee in place of one."""
    family = operation.family
    if family.fee is not None:
        return family.fee
    ceiling = family.ceiling
    if ceiling is not None and ceiling.model_of is not None:
        return ceiling.model_of(document)
    model = document.get("model")
    return model if isinstance(model, str) else None

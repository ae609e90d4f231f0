"""What the rate card has no price for: each case as the error that a caller gets.

Nothing here decides whether there is a price; the card has raised that there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rate_card import UnpricedModel, UnpricedTier, UnpricedTool
from tokenbalance.errors import (
    EndpointNotAllowed,
    ModelNotFound,
    ServiceTierNotAllowed,
    ToolNotAllowed,
    UnsupportedParameter,
)
from tokenbalance.openai.ceilings.chat import SEARCH_OPTIONS
from tokenbalance.openai.ceilings.hosted_tools import NO_NAME
from tokenbalance.openai.conditions import path_of_images, path_of_tool
from tokenbalance.openai.documents import path_of
from tokenbalance.openai.tokens.models import shown_name

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import UnpricedRequest
    from tokenbalance.errors import ProxyError
    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

_WINDOW: Final = "background_options.completion_window"
_MEMBERS: Final = {"image_model": "model", "svg_model": "svg.model"}
"""Where the tool that makes images names the models of second bills."""


def refusal_of(error: UnpricedRequest, operation: Operation, document: Document) -> ProxyError:
    """Make the error for a request that the card does not price."""
    if operation.family.fee is not None and isinstance(error, (UnpricedModel, UnpricedTool)):
        return no_fee(operation)
    if isinstance(error, UnpricedModel):
        return _no_model(error, operation, document)
    if isinstance(error, UnpricedTier):
        msg = (
            "This service_tier cannot be used here: the rate card has no price for it with this"
            " model. Leave it out, or use `default`."
        )
        return ServiceTierNotAllowed(msg, param="service_tier")
    if isinstance(error, UnpricedTool):
        return _no_tool(error.tool, document, path_of_tool(operation, document, error.tool))
    msg = f"Unsupported parameter: '{_WINDOW}': the rate card has no price for this window."
    return UnsupportedParameter(msg, param=_WINDOW)


def no_fee(operation: Operation) -> EndpointNotAllowed:
    """Make the error for an operation whose fee the card does not have."""
    fee = operation.family.fee
    msg = (
        f"{operation.method} /v1{operation.path} has a fee, and the rate card has none for it. The"
        f' operator must add a row with match = "{fee}" and calls = {{ {fee} = ... }}.'
    )
    return EndpointNotAllowed(msg)


def refusal_of_model(name: str, param: str = "model", advice: str = "") -> ModelNotFound:
    """Make the error for a model without a rate, which `param` names."""
    msg = f"The model `{shown_name(name)}` cannot be used here: no rate is set for it.{advice}"
    return ModelNotFound(msg, param=param)


def _no_tool(tool: str, document: Document, param: str) -> ToolNotAllowed:
    """Make the error for a tool without a fee, or for a search that no tool asks for."""
    if param == "model":
        name = shown_name(str(document.get("model")))
        msg = (
            f"The model `{name}` cannot be used here: it searches the web for every chat, and the"
            f" rate card has no fee `{tool}` for it. Name another one in `model`."
        )
    elif param == SEARCH_OPTIONS:
        msg = (
            f"`{param}` cannot be used with this model here: it asks for a search of the web, and"
            f" the rate card has no fee `{tool}` for it. Leave it out, and name a model in `model`"
            " that does not search."
        )
    elif tool == NO_NAME:
        msg = (
            f"The tool in `{param}` cannot be used here: its `type` is not the name of a tool."
            " Leave it out, or set `tool_choice` to `none`."
        )
    else:
        msg = (
            f"The tool `{tool}` in `{param}` cannot be used with this model here: the rate card has"
            " no fee for it. Leave it out, or set `tool_choice` to `none`."
        )
    return ToolNotAllowed(msg, param=param)


def _no_model(error: UnpricedModel, operation: Operation, document: Document) -> ModelNotFound:
    if error.field not in _MEMBERS:
        return refusal_of_model(error.model, error.field)
    param = path_of(path_of_images(operation, document), _MEMBERS[error.field])
    return refusal_of_model(error.model, param, f" Name another in `{param}`.")

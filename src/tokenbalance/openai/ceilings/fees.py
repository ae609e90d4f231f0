"""What requests may cost that use no model of their own: a fee, and at most the text of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate, Usage
from tokenbalance.openai.ceilings.hosted_tools import fee_kind
from tokenbalance.openai.documents import empty_array, path_of, require, type_error

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FILE_SEARCH: Final = "file_search"
CONTAINER: Final = "code_interpreter"
VOICE: Final = "voice"
PROVENANCE_CHECK: Final = "content_provenance_check"
WITHOUT_EQUIVALENT: Final = frozenset({VOICE, PROVENANCE_CHECK})
"""Fees of requests that use nothing which could be charged in their place."""


def estimate(fee: str, document: Document, _model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a request: the fee of this name, and the text of its query if any.

    Raises:
        InvalidRequest: the query is missing or wrong.
    """
    return Estimate(_query_tokens(fee, document, measure), more=((fee_kind(fee), 1),))


def reckon(fee: str, document: Document, _model: Model, measure: Measure) -> Usage:
    """Return what a request has used: exactly that."""
    tokens = _query_tokens(fee, document, measure)
    return Usage({"input": tokens, fee_kind(fee): 1}, tokens)


def _query_tokens(fee: str, document: Document, measure: Measure) -> int:
    if fee != FILE_SEARCH:
        return 0
    query = require(document, "query")
    queries = query if isinstance(query, list) else [query]
    if not queries:
        raise empty_array("query")
    tokens = 0
    for index, text in enumerate(queries):
        if not isinstance(text, str):
            at = path_of("query", index) if isinstance(query, list) else "query"
            raise type_error(at, "a string", text)
        tokens += measure(text)
    return tokens

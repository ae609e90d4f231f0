"""Operations that are in no table, where the operator lets them through.

Owns what of a request and a response counts as an id, since no row says where ids are:
every member that is called like one, and every text that looks like one. That finds too many rather
than too few. An id that is no object of the caller's is refused, so that no response can repeat
somebody else's and so make it the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidRequest
from tokenbalance.model.objects import Found
from tokenbalance.openai.documents import path_of
from tokenbalance.openai.objects.references import AN_ID, COPIES, ID_ENDINGS, Reference
from tokenbalance.openai.operation import Ceiling, Examples, Family, Operation, Tariff
from tokenbalance.openai.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Estimate, Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

ANY: Final = "any"
"""The kind of an object whose kind is not known. An object of any other kind is one as well."""
IDS_MAX: Final = 100
"""Most ids of a request."""

_KINDS: Final = (
    ANY,
    *sorted(
        {spec.partition(":")[0] for one in OPERATIONS for spec in one.creates} - {"listed_item"}
    ),
)
_TARIFF: Final = Tariff(
    "the charge is the `usage` of the response, or all that was held if there is none"
)


def unknown_operation(tokens: int) -> Operation:
    """Make the operation that stands for all that are not known.

    Args:
        tokens: of input that are held for each request.

    """

    def rule(_document: Document, _model: Model, _measure: Measure) -> Estimate:
        raise NotImplementedError  # A fixed ceiling needs none.

    def template(model: Model, _document: Document) -> Model:
        return model

    ceiling = Ceiling(rule, template, f"{tokens} tokens of input", fixed=tokens)
    family = Family(tariff=_TARIFF, ceiling=ceiling, place=ANY, has_output=False)
    return Operation(
        "POST",
        "/{unknown}",
        family,
        "An endpoint that is not known here",
        uses=(ANY,),
        own_examples=Examples({}, {}),
    )


def kinds_of(kind: str) -> tuple[str, ...]:
    """The kinds that an object of a kind may be recorded under."""
    return _KINDS if kind == ANY else (kind,)


def ids_of_request(document: Document) -> tuple[Reference, ...]:
    """Find what may be an id in a document; each must be the caller's.

    Raises:
        InvalidRequest: there are more than IDS_MAX.

    """
    found: list[Reference] = []
    for value, param, member in _texts(document, "", ""):
        if _names_id(member) or AN_ID.fullmatch(value):
            found.append(Reference(ANY, value, param))
            if len(found) > IDS_MAX:
                msg = f"Invalid request: it has more than {IDS_MAX} ids."
                raise InvalidRequest(msg)
    return tuple(found)


def ids_of_response(document: Document) -> list[Found]:
    """Find what a response names: each member `id` that is a text."""
    names = (value for value, _, member in _texts(document, "", "") if member == "id" and value)
    return [Found(ANY, name) for name in dict.fromkeys(names)]


def _names_id(member: str) -> bool:
    return (member == "id" or member.endswith(ID_ENDINGS)) and member not in COPIES


def _texts(value: Json, at: str, member: str) -> Iterator[tuple[str, str, str]]:
    """Yield each text of a document, its path, and the member that it or its list is."""
    if isinstance(value, str):
        yield value, at, member
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, path_of(at, name), name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{at}[{index}]", member)

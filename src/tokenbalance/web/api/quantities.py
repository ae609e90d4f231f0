"""Quantities by kind in responses: a field for each kind of a model's own tokens, at least 0.

Other kinds have a field where they were used: tokens of second bills, seconds, `call:web_search`,
`tier:priority`, and what a later version wrote. Models say so by `extra="allow"`.
"""

# `create_model` takes fields of any type; each of these is an integer.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, Field, create_model

from tokenbalance.books.pricing.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.pricing.units import Unit

Model = TypeVar("Model", bound=BaseModel)


def _field(unit: Unit) -> Any:  # noqa: ANN401 - as Field has it
    if unit.name == unit.side:
        return Field(description=f"{unit.label}, all kinds of them.")
    return Field(description=f"{unit.label}, included in the {unit.side}.")


_FIELDS: Final[dict[str, Any]] = {
    unit.name: (int, _field(unit)) for unit in UNITS.rows if unit.name in UNITS.own_tokens
}


def with_quantities(base: type[Model]) -> type[Model]:
    """Derive a model that has a field for each kind after the fields of its base."""
    return create_model(base.__name__, __base__=base, **_FIELDS)


def quantities_of(quantities: Mapping[str, int]) -> dict[str, int]:
    """Build the fields."""
    return {**dict.fromkeys(UNITS.own_tokens, 0), **quantities}

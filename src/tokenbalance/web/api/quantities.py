"""Quantities by kind in responses: a field for each kind of the table, 0 where nothing was used.

A kind that the table does not have, since a later version wrote it, has a field where it was used;
models say so by `extra="allow"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, Field, create_model

from tokenbalance.books.pricing.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.pricing.units import Unit
    from tokenbalance.model import Json

Model = TypeVar("Model", bound=BaseModel)


def _field(unit: Unit) -> Any:  # noqa: ANN401 - as Field has it
    if unit.name == unit.side:
        return Field(description=f"{unit.label}, all kinds of them.")
    return Field(description=f"{unit.label}, included in the {unit.side}.")


_FIELDS: Final[dict[str, Any]] = {  # pyright: ignore[reportExplicitAny] - as create_model has it
    unit.name: (int, _field(unit)) for unit in UNITS.rows if unit.side is not None
}


def with_quantities(base: type[Model]) -> type[Model]:
    """Derive a model that has a field for each kind after the fields of its base."""
    return create_model(base.__name__, __base__=base, **_FIELDS)


def quantities_of(quantities: Mapping[str, int]) -> dict[str, Json]:
    """Build the fields."""
    return {**dict.fromkeys(UNITS.tokens, 0), **quantities}

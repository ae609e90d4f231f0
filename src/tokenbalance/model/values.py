"""How the data that the stages pass to each other is made: a decorator for its classes.

A frozen dataclass sets each field by a call that finds the field by its name, which takes three
times as long as an assignment, and a request makes a dozen of them. So what is decorated with
`value` is frozen for the type checker, which sees every line of ours, and plain at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a dataclass of values: with slots, compared and hashed by its fields, never changed."""
    return dataclass(slots=True, unsafe_hash=True)(kind)

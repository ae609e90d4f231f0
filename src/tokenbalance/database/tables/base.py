"""The base of all tables: how constraints are named, and the column type of each Python type."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import SchemaItem

TableArgs: TypeAlias = tuple[SchemaItem | dict[str, list[str] | dict[str, float]], ...]


def one_of(column: str, values: tuple[str, ...] | tuple[int, ...]) -> str:
    """Write the condition of a check: the column has one of these values."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can refer to it."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {  # pyright: ignore[reportExplicitAny] - as DeclarativeBase has it
        int: BigInteger,
        str: Text,
        bool: Boolean,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
    }

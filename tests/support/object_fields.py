"""Fields of requests that name objects, each in a document of the type that has it."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tokenbalance.openai import OPERATIONS

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation

FIELDS = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai-operations-fields.csv"


class Field(NamedTuple):
    """A field of an open operation."""

    operation: Operation
    where: str
    """`body`, `form` or `query`."""
    name: str
    """Its path: `input[].content[].file_id`."""
    kind: str


def fields_of_open_operations() -> list[Field]:
    """Every field that names an object; none where the list of operations is not at hand."""
    if not FIELDS.is_file():
        return []
    rows = {(one.method, one.path): one for one in OPERATIONS}
    with FIELDS.open() as lines:
        return [
            Field(rows[key], row["where"], row["field"], row["kind"])
            for row in csv.DictReader(lines)
            if (key := (row["method"], row["path"])) in rows
        ]


def filled(name: str, value: Json) -> Document:
    """A document with this value in a field, in an object of the type that has it."""
    found: Json = [value] if name.endswith("_ids") else value
    for member in reversed(re.findall(r"[\w*]+|\[\]", name)):
        found = [found] if member == "[]" else _typed(name, {member: found})
    assert isinstance(found, dict)
    return found


def _typed(name: str, fields: Document) -> Document:
    if "container" in fields and "tools[]" in name:
        return {"type": "code_interpreter", **fields}
    if "tools[].model" in name or "svg" in fields:
        return (
            {"type": "image_generation", **fields} if fields.keys() & {"model", "svg"} else fields
        )
    if "svg_usage" in fields:
        return {"type": "image_generation_call", "result": "AAAA", **fields}
    if name in {"input[].id", "items[].id"}:
        return {"type": "item_reference", **fields} if "id" in fields else fields
    return fields

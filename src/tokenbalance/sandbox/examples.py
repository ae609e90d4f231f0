"""Makes up a value that fits a JSON schema, always the same one.

Used for the arguments of tool calls and for structured output, so that an SDK that validates them
accepts them. It covers OpenAI's strict mode; beyond that it makes a best effort and never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

_DEPTH_LIMIT = 16
_FORMATS: dict[str, str] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example_of(schema: Json, *, text: str = "sandbox") -> Json:
    """Return a value that fits the schema, with `text` for strings without a format."""
    root = schema if isinstance(schema, dict) else {}
    return _example(root, root, text, _DEPTH_LIMIT)


def _example(schema: Json, root: Document, text: str, depth: int) -> Json:
    if not isinstance(schema, dict) or depth == 0:
        return None
    if "const" in schema:
        return schema["const"]
    for choices in (schema.get("enum"), schema.get("examples")):
        if isinstance(choices, list) and choices:
            return choices[0]
    if nested := _nested(schema, root):
        return _example(nested, root, text, depth - 1)
    return _example_of_type(schema, root, text, depth)


def _nested(schema: Document, root: Document) -> Document | None:
    """Return the schema that this one refers to, if it does."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _resolve(reference, root)
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(keyword)
        if isinstance(branches, list) and branches and isinstance(branches[0], dict):
            return branches[0]
    return None


def _resolve(reference: str, root: Document) -> Document | None:
    target: Json = root
    for step in reference.removeprefix("#").split("/")[1:]:
        target = target.get(step) if isinstance(target, dict) else None
    return target if isinstance(target, dict) else None


def _example_of_type(schema: Document, root: Document, text: str, depth: int) -> Json:
    match _type_of(schema):
        case "object":
            return _object(schema, root, text, depth)
        case "array":
            return _array(schema, root, text, depth)
        case "string":
            return _string(schema, text)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case _:
            return None


def _type_of(schema: Document) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        named = named[0] if named else None
    if isinstance(named, str):
        return named
    return "object" if "properties" in schema else "string"


def _object(schema: Document, root: Document, text: str, depth: int) -> Json:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _example(inner, root, text, depth - 1) for name, inner in properties.items()}


def _array(schema: Document, root: Document, text: str, depth: int) -> Json:
    least = schema.get("minItems")
    count = least if isinstance(least, int) and least > 1 else 1
    # A recursive schema ends with an empty list if it allows one.
    if depth <= _DEPTH_LIMIT // 2 and not isinstance(least, int):
        return []
    return [_example(schema.get("items"), root, text, depth - 1) for _ in range(min(count, 100))]


def _string(schema: Document, text: str) -> str:
    form = schema.get("format")
    return _FORMATS.get(form, text) if isinstance(form, str) else text


def _number(schema: Document) -> int | float:
    for bound, step in (("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0)):
        value = schema.get(bound)
        if isinstance(value, int | float):
            return value + step
    return 1

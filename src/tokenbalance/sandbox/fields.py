"""Reads the fields of a request and refuses wrong ones with OpenAI's messages.

Owns the validation messages. It knows JSON types and ranges, never the meaning of a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import orjson

from tokenbalance.sandbox.faults import ApiError

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

METADATA_PAIRS_MAX = 16
METADATA_KEY_CHARACTERS_MAX = 64
METADATA_VALUE_CHARACTERS_MAX = 512

_JSON_TYPES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


def invalid_type(path: str, expected: str, value: Json) -> ApiError:
    """A field has the wrong JSON type."""
    got = _JSON_TYPES[type(value)]
    return ApiError(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        param=path,
        code="invalid_type",
    )


def missing(path: str) -> ApiError:
    """A required field is missing."""
    return ApiError(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def empty_array(path: str) -> ApiError:
    """A list must not be empty."""
    return ApiError(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead.",
        param=path,
        code="empty_array",
    )


def invalid_value(path: str, value: str, supported: tuple[str, ...]) -> ApiError:
    """A string is none of those supported."""
    names = ", ".join(f"'{name}'" for name in supported)
    return ApiError(
        f"Invalid value: '{value}'. Supported values are: {names}.",
        param=path,
        code="invalid_value",
    )


def refuse_wrong_metadata(fields: Fields) -> None:
    """Make sure that the `metadata` of a request, if it has any, is a small map of strings.

    Raises:
        ApiError: it is not.
    """
    pairs = fields.within("metadata")
    if len(pairs.document) > METADATA_PAIRS_MAX:
        raise ApiError(
            "Invalid 'metadata': too many properties. Expected an object with at most "
            f"{METADATA_PAIRS_MAX} properties, but got an object with {len(pairs.document)} "
            "properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for name in pairs.document:
        if len(name) > METADATA_KEY_CHARACTERS_MAX:
            shown = name[:METADATA_KEY_CHARACTERS_MAX]
            raise _too_long("metadata", f"key '{shown}'", len(name), METADATA_KEY_CHARACTERS_MAX)
        value = pairs.value(name)
        if not isinstance(value, str):
            raise invalid_type(pairs.path_of(name), "a string", value)
        if len(value) > METADATA_VALUE_CHARACTERS_MAX:
            path = pairs.path_of(name)
            raise _too_long(path, "string", len(value), METADATA_VALUE_CHARACTERS_MAX)


def _too_long(path: str, noun: str, length: int, most: int) -> ApiError:
    return ApiError(
        f"Invalid '{path}': {noun} too long. Expected a string with maximum length {most}, but "
        f"got a string with length {length} instead.",
        param=path,
        code="string_above_max_length",
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object of a request, and its path in it.

    Every reader treats null as absent, as OpenAI does, and raises `ApiError` (400) for a value
    of the wrong type or out of range.
    """

    document: Document
    path: str = ""

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """Read a request's body.

        Raises:
            ApiError: it is not one JSON object.
        """
        try:
            document = cast("Json", orjson.loads(body))
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            message = "We could not parse the JSON body of your request."
            raise ApiError(f"{message} (HINT: it should be a JSON object.)")
        return cls(document)

    def path_of(self, name: str) -> str:
        """Return a field's name in errors: `messages[0].role`."""
        return f"{self.path}.{name}" if self.path else name

    def value(self, name: str) -> Json:
        """Return the field unchecked; None if it is absent or null."""
        return self.document.get(name)

    def required(self, name: str) -> Json:
        """Return the field, which must be there."""
        value = self.value(name)
        if value is None:
            raise missing(self.path_of(name))
        return value

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise invalid_type(self.path_of(name), "a string", value)
        return value

    def required_text(self, name: str) -> str:
        """Return a string that must be there."""
        _ = self.required(name)
        return self.text(name) or ""

    def flag(self, name: str) -> bool:
        """Return a boolean; False if it is absent."""
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise invalid_type(self.path_of(name), "a boolean", value)
        return bool(value)

    def integer(self, name: str, minimum: int, maximum: int) -> int | None:
        """Return an integer between both bounds, inclusive."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(self.path_of(name), "an integer", value)
        self._refuse_out_of_range(name, "integer", value, minimum, maximum)
        return value

    def number(self, name: str, minimum: int, maximum: int) -> float | None:
        """Return a number between both bounds, inclusive."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_type(self.path_of(name), "a decimal", value)
        self._refuse_out_of_range(name, "decimal", value, minimum, maximum)
        return float(value)

    def within(self, name: str) -> Fields:
        """Return a nested object; empty if it is absent."""
        value = self.value(name)
        if value is None:
            return Fields({}, self.path_of(name))
        if not isinstance(value, dict):
            raise invalid_type(self.path_of(name), "an object", value)
        return Fields(value, self.path_of(name))

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects; empty if it is absent."""
        value = self.value(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise invalid_type(self.path_of(name), "an array of objects", value)
        return [self._element(name, index, element) for index, element in enumerate(value)]

    def strings(self, name: str) -> list[str]:
        """Return a string or a list of strings as a list; empty if it is absent."""
        value = self.value(name)
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            texts = [element for element in value if isinstance(element, str)]
            if len(texts) == len(value):
                return texts
        raise invalid_type(self.path_of(name), "a string or an array of strings", value)

    def _element(self, name: str, index: int, element: Json) -> Fields:
        path = f"{self.path_of(name)}[{index}]"
        if not isinstance(element, dict):
            raise invalid_type(path, "an object", element)
        return Fields(element, path)

    def _refuse_out_of_range(
        self, name: str, noun: str, value: float, minimum: int, maximum: int
    ) -> None:
        if minimum <= value <= maximum:
            return
        below = value < minimum
        side = "below minimum" if below else "above maximum"
        expected = f">= {minimum}" if below else f"<= {maximum}"
        raise ApiError(
            f"Invalid '{self.path_of(name)}': {noun} {side} value. Expected a value {expected}, "
            f"but got {value} instead.",
            param=self.path_of(name),
            code=f"{noun}_{'below_min' if below else 'above_max'}_value",
        )


def text_within(content: Json) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(part for part in parts if isinstance(part, str))

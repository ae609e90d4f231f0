"""Bodies of management requests: strict JSON, then a model that refuses unknown fields.

A body is read only after the caller is authenticated. An error names the field and never repeats
its value, which may be a password.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, Final, Generic, Self, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tokenbalance.errors import IntegerAboveMaximum, InvalidJson, InvalidRequest, InvalidType
from tokenbalance.model import Document, Json
from tokenbalance.openai.documents import INEXACT, parse_document
from tokenbalance.web.api.refusals import refusal, shown
from tokenbalance.wire.client.request import ClientGone, ClientRequest

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_WITHIN_S: Final = 60.0
_NUMBER_CHARS_MAX: Final = 19
_BEYOND: Final = object()


class Body(BaseModel):
    """The body of a request, field by field."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class ChangesBody(Body):
    """A body in which at least one field is given; missing fields stay as they are."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            names = ", ".join(f"'{name}'" for name in type(self).model_fields)
            msg = f"at least one of {names} is required"
            raise ValueError(msg)
        return self


B = TypeVar("B", bound=Body)


class BodyModel:
    """The body model of a route, for the documentation."""

    other_types: ClassVar[Mapping[str, Document]] = {}
    """Contents that are accepted instead of JSON, by media type."""

    def __init__(self, model: type[Body]) -> None:
        self.model = model


class BodyReader(BodyModel, Generic[B]):
    """A dependency that reads one kind of body."""

    def __init__(self, model: type[B], bytes_max: int = BODY_BYTES_MAX) -> None:
        super().__init__(model)
        self._model = model
        self._bytes_max = bytes_max

    async def __call__(self, request: Request) -> B:
        """Read the body of a request.

        Raises:
            InvalidRequest: it is too large, not strict JSON, or does not fit the model.

        """
        document = await _read_document(request, self._bytes_max)
        try:
            return self._model.model_validate(document)
        except ValidationError as error:
            raise refusal(error.errors(include_url=False, include_input=False)[0]) from None


async def _read_document(request: Request, bytes_max: int) -> Document:
    received = ClientRequest.of_asgi(request.scope, request.receive)
    received.require_plain_json()
    try:
        body = await received.read_body(bytes_max, BODY_WITHIN_S)
    except ClientGone:
        msg = "The client disconnected before it had sent its request."
        raise InvalidRequest(msg) from None
    try:
        return {name: _as_written(value) for name, value in parse_document(body).items()}
    except InvalidJson:
        _refuse_beyond(body)
        raise


def _as_written(value: Json) -> Json:
    """Return an integer beyond 64 bits, which is read as a float, as an integer again."""
    if isinstance(value, float) and abs(value) >= INEXACT:
        return int(value)
    return value


def _refuse_beyond(body: bytes) -> None:
    """Name the field whose number makes a body unreadable, if that is the reason.

    Raises:
        InvalidType, IntegerAboveMaximum: a number fits neither a double nor 64 bits.

    """
    try:
        document = cast(
            "object", json.loads(body, parse_int=_whole, parse_float=_decimal, parse_constant=_no)
        )
    except (ValueError, RecursionError):
        return
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    for name, value in fields.items():
        field = shown(name)
        if value is _BEYOND:
            msg = f"Invalid '{field}': integer above maximum value."
            raise IntegerAboveMaximum(msg, param=field)
        if isinstance(value, float) and value in {float("inf"), float("-inf")}:
            msg = f"Invalid type for '{field}': expected a number that can be represented."
            raise InvalidType(msg, param=field)


def _whole(digits: str) -> object:
    return _BEYOND if len(digits.lstrip("-")) > _NUMBER_CHARS_MAX else int(digits)


def _decimal(digits: str) -> float:
    return float(digits)


def _no(_constant: str) -> object:
    raise ValueError

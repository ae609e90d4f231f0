"""Bodies of management requests: strict JSON, then a model that takes nothing but what it names.

A body is read after the caller is known, so that strangers cannot make us read. An error names
the field and never repeats what was in it: it may be a password.
"""

import json
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
    """What a request says, field by field."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class ChangesBody(Body):
    """Fields of which some are given, and the others left as they are."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            names = ", ".join(f"'{name}'" for name in type(self).model_fields)
            msg = f"at least one of {names} is expected"
            raise ValueError(msg)
        return self


B = TypeVar("B", bound=Body)


class BodyModel:
    """What a route reads of its body, for the documentation."""

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
            InvalidRequest: it is too large, no strict JSON, or not what the model takes.

        """
        document = await _read_document(request, self._bytes_max)
        try:
            return self._model.model_validate(document)
        except ValidationError as error:
            raise refusal(error.errors(include_url=False, include_input=False)[0]) from None


async def _read_document(request: Request, bytes_max: int) -> Document:
    received = ClientRequest(request.scope, request.receive)
    received.require_plain_json()
    try:
        body = await received.read_body(bytes_max, BODY_WITHIN_S)
    except ClientGone:
        msg = "The client left before it had sent its request."
        raise InvalidRequest(msg) from None
    try:
        return {name: _as_written(value) for name, value in parse_document(body).items()}
    except InvalidJson:
        _refuse_beyond(body)
        raise


def _as_written(value: Json) -> Json:
    """An integer beyond 64 bit, which is read as a float, so that it is told to be too large."""
    if isinstance(value, float) and abs(value) >= INEXACT:
        return int(value)
    return value


def _refuse_beyond(body: bytes) -> None:
    """Name the field whose number is what makes a body unreadable, if it is that.

    Raises:
        InvalidType, IntegerAboveMaximum: a field has a number that no double, no 64 bit hold.

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

"""What a `/v1` endpoint returns when it does not relay: each status, its errors and its headers.

The examples are rendered from the error classes, so that envelopes, types and codes are those that
the proxy sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import (
    BalanceHeld,
    InsufficientQuota,
    IntegerBelowMinimum,
    InvalidApiKey,
    InvalidJson,
    InvalidType,
    MissingParameter,
    ModelNotFound,
    NotAllowed,
    ObjectNotFound,
    ProxyError,
    RequestTimeout,
    RequestTooLarge,
    ServiceTierNotAllowed,
    ServiceUnavailable,
    ToolNotAllowed,
    TooManyRequests,
    UnknownUrl,
    UnsupportedMediaType,
    UnsupportedParameter,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamNotConfigured,
    UpstreamQuota,
    UpstreamTimeout,
    UpstreamUnavailable,
    error_document,
    headers_of,
)

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation

ERROR: Final = "Error"
"""Name of the error envelope in the document's schemas."""

ERROR_SCHEMA: Final[Document] = {
    "type": "object",
    "title": "Error",
    "description": "OpenAI's error envelope, always with all four keys.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {
                    "type": ["string", "null"],
                    "description": "The field that is wrong, if it is about one.",
                },
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_REFERENCE: Final[Document] = {"$ref": f"#/components/schemas/{ERROR}"}
_TEXT: Final[Document] = {"type": "string"}
_COUNT: Final[Document] = {"type": "integer", "minimum": 0}


@dataclass(frozen=True, slots=True)
class _Refused:
    """A status and the errors that have it."""

    status: int
    text: str
    errors: tuple[ProxyError, ...]
    with_body: bool = False
    """Only for operations with a request body."""
    charged: bool = False
    """Only for operations that are charged."""


_REFUSED: Final = (
    _Refused(
        400,
        "The request is invalid; `error.param` names the field. Nothing was sent upstream.",
        (
            InvalidJson("The request body is not valid JSON."),
            MissingParameter("Missing required parameter: 'model'.", param="model"),
            InvalidType("Invalid type for 'n': expected an integer.", param="n"),
            IntegerBelowMinimum("Invalid 'n': integer below minimum value.", param="n"),
            UnsupportedParameter(
                "Unsupported parameter: 'background' cannot be used through a shared key.",
                param="background",
            ),
        ),
        with_body=True,
    ),
    _Refused(
        401,
        "The key is missing, unknown, expired or revoked, or its user is disabled.",
        (InvalidApiKey("Incorrect API key provided."),),
    ),
    _Refused(
        402,
        "The balance does not cover the request (429 without `retry-after` if the operator or the"
        " key is configured so). Nothing was sent upstream.",
        (
            InsufficientQuota(
                "Insufficient balance: this request needs 113 credits, 18 are available"
                " (balance 30, held by requests in progress 12)."
            ),
        ),
        charged=True,
    ),
    _Refused(
        403,
        "The rate card has no price for the service tier, or no fee for a tool that the upstream"
        " runs; or the upstream forbids the request for a reason that concerns only the operator."
        " Nothing was charged.",
        (
            ServiceTierNotAllowed(
                "This service_tier cannot be used here: the rate card has no price for it with this"
                " model. Leave it out, or use `default`.",
                param="service_tier",
            ),
            ToolNotAllowed(
                "The tool `file_search` in `tools[0]` cannot be used with this model here: the rate"
                " card has no fee for it. Leave it out, or set `tool_choice` to `none`.",
                param="tools[0]",
            ),
            NotAllowed("The upstream does not allow this request; nothing was charged."),
        ),
        charged=True,
    ),
    _Refused(
        404,
        "There is no such model, or this server may not use it; there is no such object, or it"
        " belongs to somebody else; or there is no such endpoint.",
        (
            ModelNotFound(
                "The model `gpt-0` does not exist or you do not have access to it.", param="model"
            ),
            ObjectNotFound("No such File object: file-123"),
            UnknownUrl("Invalid URL: POST /v1/nothing is not an endpoint of this server."),
        ),
    ),
    _Refused(
        408,
        "The request did not arrive in time.",
        (RequestTimeout("The request body did not arrive in time."),),
        with_body=True,
    ),
    _Refused(
        413,
        "The body is too large (414: the URL, 431: the headers).",
        (RequestTooLarge("The request body is larger than 67108864 bytes."),),
        with_body=True,
    ),
    _Refused(
        415,
        "The body is not JSON, or its compression is none of gzip, deflate, zstd and br.",
        (UnsupportedMediaType("The request body must be JSON in UTF-8."),),
        with_body=True,
    ),
    _Refused(
        424,
        "The upstream's response broke off. What had arrived was charged; so is a retry.",
        (UpstreamIncomplete("The upstream broke off its response. What had arrived was charged."),),
        charged=True,
    ),
    _Refused(
        429,
        "The balance covers the request, but other requests in progress held it for the whole time"
        " that a request may wait. Or the account has too many requests in progress, too many bytes"
        " of bodies that are not paid for yet, or has made too many requests that cost nothing."
        " Nothing was sent upstream; retry after the time in `retry-after`.",
        (
            BalanceHeld(
                "Requests in progress hold the balance: this request needs 113 credits, 18 are"
                " available (balance 130, held by requests in progress 112).",
                2,
            ),
            TooManyRequests("This account already has 1000 requests in progress", 1),
            TooManyRequests("This account may make 600 requests a minute that cost nothing", 1),
        ),
    ),
    _Refused(
        502,
        "The upstream cannot be reached, or refuses the operator's key (which a retry does not"
        " change). Nothing was charged.",
        (
            UpstreamUnavailable("The upstream cannot be reached; nothing was charged."),
            UpstreamAuth(
                "The upstream refused the operator's key; only the operator can fix this."
            ),
        ),
    ),
    _Refused(
        503,
        "The database cannot be reached, the journal cannot be written, the server is shutting down"
        " or has no room for another large body: retry. Or the operator's account at the upstream"
        " is used up, or no upstream key is configured: a retry does not help. Nothing was"
        " charged.",
        (
            ServiceUnavailable(),
            ServiceUnavailable("The server has no room for another large request body"),
            UpstreamQuota(
                "This server's own account at the upstream has no money left or is not active."
                " This is not your balance, and only the operator can fix it."
            ),
            UpstreamNotConfigured(
                "No upstream key is configured here: the operator has to set OPENAI_API_KEY."
            ),
        ),
    ),
    _Refused(
        504,
        "The upstream did not respond in time. Nothing was charged.",
        (UpstreamTimeout("The upstream did not respond in time; nothing was charged."),),
    ),
)

_OUR_ID: Final[Document] = {
    "x-tokenbalance-request-id": {
        "description": "The request's id in the books; quote it in questions.",
        "schema": _TEXT,
    }
}
_UPSTREAM_ID: Final[Document] = {
    "x-request-id": {"description": "The upstream's own id of the request.", "schema": _TEXT}
}
_CHARGE: Final[Document] = {
    "x-tokenbalance-hold": {
        "description": "Credits that were held for the request.",
        "schema": _COUNT,
    },
    "x-tokenbalance-output-cap": {
        "description": "Sent if the balance affords less output than the request allows: the"
        " limit that was sent upstream, in tokens of each choice.",
        "schema": _COUNT,
    },
    "x-tokenbalance-charge": {
        "description": "Credits that the request cost; absent from streams and speech, whose"
        " headers are sent before.",
        "schema": _COUNT,
    },
    "x-tokenbalance-balance": {
        "description": "The balance after that; absent from streams.",
        "schema": {"type": "integer"},
    },
}
_OF_ERRORS: Final = {
    "retry-after": "Whole seconds to wait before a retry.",
    "x-should-retry": "`false` if the same request would be refused again.",
    "www-authenticate": "The kind of key that is expected.",
}


def relayed_headers(operation: Operation) -> Document:
    """Describe the headers of a relayed response."""
    return {**_UPSTREAM_ID, **_OUR_ID, **(_CHARGE if operation.charged else {})}


def shared_responses() -> Document:
    """Describe every status that the proxy itself returns, for the document's components."""
    return {_name(refused.status): _described(refused) for refused in _REFUSED}


def responses_of(operation: Operation) -> Document:
    """Refer to the statuses that an operation can have, and to all others of the upstream."""
    own: Document = {
        str(refused.status): {"$ref": f"#/components/responses/{_name(refused.status)}"}
        for refused in _REFUSED
        if (_takes_body(operation, refused.status) or not refused.with_body)
        and (operation.charged or not refused.charged)
    }
    other: Document = {
        "description": "The upstream's own response, with its status, unchanged: the error is about"
        " the request. Nothing was charged.",
        "headers": {**_UPSTREAM_ID, **_OUR_ID},
        "content": {"application/json": {"schema": _REFERENCE}},
    }
    return {**own, "default": other}


def _takes_body(operation: Operation, status: int) -> bool:
    """Whether an operation has what is refused with a status: a body, or parameters likewise."""
    return bool(operation.bodies or (operation.query and status == HTTPStatus.BAD_REQUEST))


def _described(refused: _Refused) -> Document:
    headers: Document = dict(_OUR_ID)
    examples: Document = {}
    for error in refused.errors:
        same = sum(name.partition(" ")[0] == error.code for name in examples)
        name = f"{error.code} {same + 1}" if same else error.code
        examples[name] = {"value": _envelope(error)}
        for header, _ in headers_of(error):
            known = header.decode()
            headers[known] = {"description": _OF_ERRORS[known], "schema": _TEXT}
    return {
        "description": refused.text,
        "headers": headers,
        "content": {"application/json": {"schema": _REFERENCE, "examples": examples}},
    }


def _envelope(error: ProxyError) -> Json:
    return {name: dict(members) for name, members in error_document(error).items()}


def _name(status: int) -> str:
    return f"Refused{status}"

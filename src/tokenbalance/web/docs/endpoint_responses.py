"""How a `/v1` endpoint answers when it does not relay: each status, its errors and its headers.

The examples are made of the errors themselves, so that their envelopes, types and codes are what
the proxy sends.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    ProxyError,
    RequestTimeout,
    RequestTooLarge,
    ServiceTierNotAllowed,
    ServiceUnavailable,
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
"""The name of the envelope among the document's schemas."""

ERROR_SCHEMA: Final[Document] = {
    "type": "object",
    "title": "Error",
    "description": "OpenAI's envelope, always with all four keys.",
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
                    "description": "The field that is at fault, where one is.",
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
    """One status, and the errors that have it."""

    status: int
    text: str
    errors: tuple[ProxyError, ...]
    with_body: bool = False
    """Only where a document is sent."""
    charged: bool = False
    """Only where credits are charged."""


_REFUSED: Final = (
    _Refused(
        400,
        "The request is not understood; `error.param` names the field. Nothing was sent.",
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
        "No, unknown, expired or revoked key; disabled user.",
        (InvalidApiKey("Incorrect API key provided."),),
    ),
    _Refused(
        402,
        "The balance does not cover the request (429, without `retry-after`, where the operator or"
        " the key says so). Nothing was sent.",
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
        "The rate card has no price for the service tier, or the upstream forbids the request in"
        " words that are not for its caller. Nothing was charged.",
        (
            ServiceTierNotAllowed(
                "This service_tier cannot be used here: the rate card has no price for it.",
                param="service_tier",
            ),
            NotAllowed("The upstream does not allow this request; nothing was charged."),
        ),
        charged=True,
    ),
    _Refused(
        404,
        "No such model, or the upstream does not let this server use it; or no such endpoint.",
        (
            ModelNotFound(
                "The model `gpt-0` does not exist or you do not have access to it.", param="model"
            ),
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
        "The body is not JSON, or compressed otherwise than by gzip, deflate, zstd or br.",
        (UnsupportedMediaType("The request body must be JSON in UTF-8."),),
        with_body=True,
    ),
    _Refused(
        424,
        "The upstream began to answer and broke off. What arrived was charged, and would be again.",
        (UpstreamIncomplete("The upstream broke off its answer. What had arrived was charged."),),
        charged=True,
    ),
    _Refused(
        429,
        "The balance covers the request, but requests in progress held it for as long as one may"
        " wait. Nothing was sent.",
        (
            BalanceHeld(
                "Requests in progress hold the balance: this request needs 113 credits, 18 are"
                " available (balance 130, held by requests in progress 112).",
                2,
            ),
        ),
        charged=True,
    ),
    _Refused(
        502,
        "The upstream cannot be reached, or refuses the operator's key (then it is of no use to try"
        " again). Nothing was charged.",
        (
            UpstreamUnavailable("The upstream cannot be reached; nothing was charged."),
            UpstreamAuth("The upstream refused the operator's key; only the operator can mend it."),
        ),
    ),
    _Refused(
        503,
        "The database cannot be reached, the journal not be written, or the server stops: try"
        " again. Or the operator's account at the upstream is used up, or there is no upstream key:"
        " of no use to try again. Nothing was charged.",
        (
            ServiceUnavailable(),
            UpstreamQuota(
                "This server's own account at the upstream is used up or not active. It is not your"
                " balance, and only the operator can mend it."
            ),
            UpstreamNotConfigured(
                "No upstream key is configured here: the operator has to set OPENAI_API_KEY."
            ),
        ),
    ),
    _Refused(
        504,
        "The upstream did not answer in time. Nothing was charged.",
        (UpstreamTimeout("The upstream did not answer in time; nothing was charged."),),
    ),
)

_OUR_ID: Final[Document] = {
    "x-tokenbalance-request-id": {
        "description": "Names the request in the books; ask about it by this.",
        "schema": _TEXT,
    }
}
_UPSTREAM_ID: Final[Document] = {
    "x-request-id": {"description": "The upstream's own name for the request.", "schema": _TEXT}
}
_CHARGE: Final[Document] = {
    "x-tokenbalance-hold": {
        "description": "Credits that were held for the request.",
        "schema": _COUNT,
    },
    "x-tokenbalance-output-cap": {
        "description": "Sent when the balance affords less output than the request allows: the"
        " limit that the upstream was told, in tokens of each choice.",
        "schema": _COUNT,
    },
    "x-tokenbalance-charge": {
        "description": "Credits that the request cost; not of a stream, whose head is sent before.",
        "schema": _COUNT,
    },
    "x-tokenbalance-balance": {
        "description": "The balance after that; not of a stream.",
        "schema": {"type": "integer"},
    },
}
_OF_ERRORS: Final = {
    "retry-after": "Whole seconds after which it may be tried again.",
    "x-should-retry": "`false` where the same request would be refused again.",
    "www-authenticate": "What kind of key is expected.",
}


def relayed_headers(endpoint: Operation) -> Document:
    """Describe the headers of an answer that was relayed."""
    return {**_UPSTREAM_ID, **_OUR_ID, **(_CHARGE if endpoint.charged else {})}


def shared_responses() -> Document:
    """Describe every status that is the proxy's own, for the document's components."""
    return {_name(refused.status): _described(refused) for refused in _REFUSED}


def responses_of(endpoint: Operation) -> Document:
    """Refer to those of them that an endpoint has, and to whatever else the upstream says."""
    own: Document = {
        str(refused.status): {"$ref": f"#/components/responses/{_name(refused.status)}"}
        for refused in _REFUSED
        if (endpoint.method == "POST" or not refused.with_body)
        and (endpoint.charged or not refused.charged)
    }
    other: Document = {
        "description": "The upstream's own answer, with its status, as it came: the error is about"
        " the request. Nothing was charged.",
        "headers": {**_UPSTREAM_ID, **_OUR_ID},
        "content": {"application/json": {"schema": _REFERENCE}},
    }
    return {**own, "default": other}


def _described(refused: _Refused) -> Document:
    headers: Document = dict(_OUR_ID)
    examples: Document = {}
    for error in refused.errors:
        examples[error.code] = {"value": _envelope(error)}
        for name, _ in headers_of(error):
            known = name.decode()
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

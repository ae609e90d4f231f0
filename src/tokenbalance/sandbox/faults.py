"""The sandbox's faults, and the model names that trigger them.

Owns the errors with OpenAI's messages and the faults of responses. It never sends anything:
`app.py` renders an `ApiError` and plays a `Manner`.

    model                                      what happens
    error-400 error-401 error-403 error-404    that status
    error-429                                  that status, with `retry-after`
    error-500 error-503                        that status
    slow                                       the response arrives slowly
    stall                                      half of the response, then nothing
    cut                                        half of the response, then the connection closes
    no-usage                                   a complete response without its usage
"""

from __future__ import annotations

import enum


class ApiError(Exception):
    """An error of the sandbox: OpenAI's status, envelope and headers."""

    def __init__(  # noqa: PLR0913 - the envelope has that many keys
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def document(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's envelope, always with all four keys."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


class Manner(enum.Enum):
    """How the bytes of a response are sent; each fault is named like its model."""

    PROMPT = "prompt"
    SLOW = "slow"
    STALL = "stall"
    CUT = "cut"


MODEL_WITHOUT_USAGE = "no-usage"

_CHALLENGE = {"www-authenticate": 'Bearer realm="OpenAI API"'}
_ERRORS: dict[str, ApiError] = {
    "error-400": ApiError(
        "Invalid 'messages': the sandbox was asked for this error.",
        param="messages",
        code="invalid_value",
    ),
    "error-401": ApiError(
        "Incorrect API key provided: sk-sandb***. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        status=401,
        code="invalid_api_key",
        headers=_CHALLENGE,
    ),
    "error-403": ApiError(
        "Project `proj_sandbox` does not have access to model `error-403`",
        status=403,
        code="model_not_found",
    ),
    "error-404": ApiError(
        "The model `error-404` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    ),
    "error-429": ApiError(
        "Rate limit reached for error-429 in organization sandbox on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 1s.",
        status=429,
        kind="requests",
        code="rate_limit_exceeded",
        headers={"retry-after": "1", "retry-after-ms": "1000"},
    ),
    "error-500": ApiError(
        "The server had an error processing your request. Sorry about that!",
        status=500,
        kind="server_error",
    ),
    "error-503": ApiError(
        "The engine is currently overloaded, please try again later",
        status=503,
        kind="service_unavailable_error",
        code="server_is_overloaded",
    ),
}
_MANNERS = {manner.value: manner for manner in Manner if manner is not Manner.PROMPT}

MODELS_ON_DEMAND = (*_ERRORS, *_MANNERS, MODEL_WITHOUT_USAGE)
"""Every model name that triggers a fault."""


def raise_on_demand(model: str) -> None:
    """Fail if the model's name is that of an error.

    Raises:
        ApiError: the error of that name.
    """
    if error := _ERRORS.get(model):
        # A new one each time: a raised exception keeps its traceback.
        raise ApiError(
            error.message,
            status=error.status,
            kind=error.kind,
            param=error.param,
            code=error.code,
            headers=error.headers,
        )


def manner_of(model: str) -> Manner:
    """Return how responses of this model are sent."""
    return _MANNERS.get(model, Manner.PROMPT)


def no_credentials() -> ApiError:
    """The request has no API key."""
    return ApiError(
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        status=401,
        headers=_CHALLENGE,
    )


def unknown_url(method: str, path: str) -> ApiError:
    """There is no such endpoint."""
    return ApiError(
        f"Unknown request URL: {method} {path}. Please check the URL for typos, or see the docs "
        "at https://platform.openai.com/docs/api-reference/.",
        status=404,
        code="unknown_url",
    )


def wrong_method(method: str, path: str) -> ApiError:
    """The endpoint does not have this method."""
    return ApiError(
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP "
        "method?)",
        status=405,
        code="method_not_supported",
    )


def no_example(method: str, path: str) -> ApiError:
    """The operation is open, but nothing says what it returns."""
    return ApiError(f"The sandbox has no example of {method} {path}.", status=501)


def no_such_model(model: str) -> ApiError:
    """A model that `GET /models` does not list."""
    return ApiError(
        f"The model '{model}' does not exist", status=404, param="model", code="model_not_found"
    )


_WORDS: dict[str, str] = {
    "file": "No such File object: {id}",
    "upload": "No such Upload object: {id}",
}


def no_such_object(kind: str, name: str) -> ApiError:
    """An object that was never made here, or is gone."""
    words = _WORDS.get(kind, kind.replace("_", " ").capitalize() + " with id '{id}' not found.")
    return ApiError(words.format(id=name), status=404, param="id")

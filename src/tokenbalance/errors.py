"""Every error that a caller of the proxy can get, and the one renderer of them.

    ProxyError                              500  server_error
    |-- InvalidRequest                      400  invalid_request_error
    |   |-- InvalidJson                     400  . invalid_json
    |   |-- InvalidForm                     400  . invalid_form
    |   |-- InvalidType                     400  . invalid_type
    |   |-- MissingParameter                400  . missing_required_parameter
    |   |-- UnsupportedParameter            400  . unsupported_parameter
    |   |-- UnknownParameter                400  . unknown_parameter
    |   |-- InvalidValue                    400  . invalid_value
    |   |-- EmptyArray                      400  . empty_array
    |   |-- IntegerBelowMinimum             400  . integer_below_min_value
    |   |-- IntegerAboveMaximum             400  . integer_above_max_value
    |   |-- UnsupportedMediaType            415  . unsupported_media_type
    |   |-- InvalidEncoding                 400  . invalid_encoding
    |   |-- InvalidCredentials              400  . invalid_credentials
    |   |-- RequestTimeout                  408  . request_timeout
    |   `-- RequestTooLarge                 413  . request_too_large
    |       |-- HeadTooLarge                431  . request_too_large
    |       `-- UrlTooLong                  414  . request_too_large
    |-- InvalidApiKey                       401  . invalid_api_key
    |-- InsufficientQuota                   402  insufficient_quota . insufficient_quota
    |-- RequestTooExpensive                 402  . request_too_expensive
    |-- LimitReached                        429  the unit . rate_limit_exceeded
    |-- BalanceHeld                         429  rate_limit_error . balance_held
    |-- NotAllowed                          403  . permission_denied
    |   `-- MissingScope                    403  . missing_scope
    |-- IpNotAllowed                        403  . ip_not_allowed
    |-- ModelNotAllowed                     403  . model_not_allowed
    |-- EndpointNotAllowed                  403  . endpoint_not_allowed
    |-- ServiceTierNotAllowed               403  . service_tier_not_allowed
    |-- ToolNotAllowed                      403  . tool_not_allowed
    |-- UnknownUrl                          404  . unknown_url
    |   `-- MalformedTarget                 400  . unknown_url
    |-- ModelNotFound                       404  . model_not_found
    |-- NotFound                            404  . not_found
    |   `-- ObjectNotFound                  404  . not_found
    |-- IdempotencyKeyReused                409  . idempotency_key_reused
    |-- WebSocketNotSupported               426  . websocket_not_supported
    |-- TooManyAttempts                     429  . rate_limit_exceeded
    |-- TooManyRequests                     429  rate_limit_error . rate_limit_exceeded
    |-- UpstreamIncomplete                  424  upstream_error . upstream_incomplete
    |-- UpstreamAuth                        502  upstream_error . upstream_auth
    |-- UpstreamQuota                       503  upstream_error . upstream_quota
    |-- UpstreamUnavailable                 502  upstream_error . upstream_unavailable
    |-- UpstreamLoop                        508  upstream_error . upstream_loop
    |-- UpstreamTimeout                     504  upstream_error . upstream_timeout
    |-- UpstreamNotConfigured               503  server_error . upstream_not_configured
    |-- StorageFull                         507  server_error . storage_full
    `-- ServiceUnavailable                  503  server_error . service_unavailable
        `-- TooManySigningIn                503  . service_unavailable

The codes are OpenAI's own where OpenAI has one (its recorded errors), so that SDKs raise the
exception class their users expect. A message never carries a secret or text of the request.

An error that a retry would meet again carries `x-should-retry: false`: every 4xx except 408 and
429, and what only the operator can fix. SDKs obey it. Other clients, such as Codex, send a request
that got a 402 six times, as after a 429 with `retry-after`, but after a 429 with the code
`insufficient_quota` and no `retry-after` only once. Errors that pass with time carry `retry-after`,
in whole seconds.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class ProxyError(Exception):
    """Something went wrong on our side; a retry may succeed."""

    status: int = 500
    type: str = "server_error"
    code: ClassVar[str] = "internal_error"
    final: bool | None = None
    """Whether a retry would get the same error; None: as its status says."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Its own headers; `headers_of` returns all that it is sent with."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(ProxyError):
    """The request cannot be understood; nothing was held or sent upstream."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidJson(InvalidRequest):
    """The body is not one strict JSON object: syntax, duplicate keys, or depth."""

    code = "invalid_json"


class InvalidForm(InvalidRequest):
    """The body is not one strict form: syntax, names, or parts that can be read in two ways."""

    code = "invalid_form"


class InvalidType(InvalidRequest):
    """A field that decides the cost has the wrong JSON type."""

    code = "invalid_type"


class MissingParameter(InvalidRequest):
    """A field that decides the cost is missing."""

    code = "missing_required_parameter"


class UnsupportedParameter(InvalidRequest):
    """A field asks for something that cannot be shared or metered here."""

    code = "unsupported_parameter"


class UnknownParameter(InvalidRequest):
    """A field looks like one that decides the cost but is not spelled like it."""

    code = "unknown_parameter"


class InvalidValue(InvalidRequest):
    """A field has a value outside what the upstream defines."""

    code = "invalid_value"


class EmptyArray(InvalidRequest):
    """A list that must hold something is empty."""

    code = "empty_array"


class IntegerBelowMinimum(InvalidRequest):
    """A number that decides the cost is too small."""

    code = "integer_below_min_value"


class IntegerAboveMaximum(InvalidRequest):
    """A number that decides the cost is too large."""

    code = "integer_above_max_value"


class InvalidCredentials(InvalidRequest):
    """Wrong e-mail or password; the response does not say which."""

    code = "invalid_credentials"


class UnsupportedMediaType(InvalidRequest):
    """The body is neither JSON nor a form, or is compressed with an unsupported coding."""

    status = 415
    code = "unsupported_media_type"


class InvalidEncoding(InvalidRequest):
    """The body is not what its Content-Encoding says."""

    code = "invalid_encoding"


class RequestTimeout(InvalidRequest):
    """The client did not send its body in time."""

    status = 408
    code = "request_timeout"


class RequestTooLarge(InvalidRequest):
    """The body is larger than the proxy accepts."""

    status = 413
    code = "request_too_large"


class HeadTooLarge(RequestTooLarge):
    """The request head has too many bytes or fields."""

    status = 431


class UrlTooLong(RequestTooLarge):
    """The request target is longer than any endpoint's."""

    status = 414


class InvalidApiKey(ProxyError):
    """No key, an unknown, expired or revoked key, or a disabled user."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    headers = ((b"www-authenticate", b"Bearer"),)


class InsufficientQuota(ProxyError):
    """The balance cannot cover the request; nothing was sent upstream.

    Where the operator or the owner of the key has chosen status 429, it has no `retry-after`.
    """

    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"
    final = True

    def __init__(self, message: str, status: int = status) -> None:
        super().__init__(message)
        self.status = status


class RequestTooExpensive(ProxyError):
    """One request may hold fewer credits than this one needs with the smallest output."""

    status = 402
    type = "invalid_request_error"
    code = "request_too_expensive"


class LimitReached(ProxyError):
    """A limit of the key, its account or an end user leaves no room for the request now."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, kind: str, retry_after_ms: int | None) -> None:
        """Say when the next attempt succeeds.

        Args:
            message: of the error.
            kind: its `type`: what is limited, such as `tokens`.
            retry_after_ms: None: no attempt ever will.

        """
        super().__init__(message)
        self.type = kind
        self.final = retry_after_ms is None
        if retry_after_ms is not None:
            self.headers = (
                (b"retry-after", b"%d" % -(-retry_after_ms // 1000)),
                (b"retry-after-ms", b"%d" % retry_after_ms),
            )


class BalanceHeld(ProxyError):
    """The balance covers the request, but requests in progress hold it; it may fit later."""

    status = 429
    type = "rate_limit_error"
    code = "balance_held"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(f"{message} Try again in {retry_after_s} s.")
        self.headers = ((b"retry-after", b"%d" % retry_after_s),)


class NotAllowed(ProxyError):
    """The caller is known but may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class MissingScope(NotAllowed):
    """The key is not for this use. OpenAI's own wording, but 401 there: the key is valid."""

    code = "missing_scope"

    def __init__(
        self, missing: Sequence[str], held: Sequence[str], *, param: str | None = None
    ) -> None:
        super().__init__(
            "You have insufficient permissions for this operation."
            f" Missing scopes: {', '.join(missing)}. The key has: {', '.join(held)}.",
            param=param,
        )


class IpNotAllowed(ProxyError):
    """The key may not be used from this address."""

    status = 403
    type = "invalid_request_error"
    code = "ip_not_allowed"


class ModelNotAllowed(ProxyError):
    """The key may not be used for this model."""

    status = 403
    type = "invalid_request_error"
    code = "model_not_allowed"


class EndpointNotAllowed(ProxyError):
    """OpenAI has this endpoint, but it is not open to shared keys, or not to this one."""

    status = 403
    type = "invalid_request_error"
    code = "endpoint_not_allowed"


class ServiceTierNotAllowed(ProxyError):
    """The rate card cannot price this tier, or the key is not for it."""

    status = 403
    type = "invalid_request_error"
    code = "service_tier_not_allowed"


class ToolNotAllowed(ProxyError):
    """The rate card has no fee for calls of this tool, or the key is not for it."""

    status = 403
    type = "invalid_request_error"
    code = "tool_not_allowed"


class UnknownUrl(ProxyError):
    """No such endpoint here."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class MalformedTarget(UnknownUrl):
    """The request target is not a path on this server."""

    status = 400


class ModelNotFound(ProxyError):
    """This caller cannot use a model of that name."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class NotFound(ProxyError):
    """There is no such object, or it belongs to somebody else."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ObjectNotFound(NotFound):
    """The upstream stores no such object for this caller: nobody's and somebody else's alike."""


class IdempotencyKeyReused(ProxyError):
    """An Idempotency-Key was used before, for a request with other contents."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_key_reused"


class WebSocketNotSupported(ProxyError):
    """A WebSocket was requested; clients that can also use HTTP fall back to it at once."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"
    # RFC 9110 section 15.5.22: the response names the protocol to use instead.
    headers = ((b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade"))


class TooManyAttempts(ProxyError):
    """Too many failed sign-ins, or too many sign-ups; a later attempt may succeed."""

    status = 429
    type = "invalid_request_error"
    code = "rate_limit_exceeded"

    def __init__(self, retry_after_s: int, reason: str = "Too many attempts to sign in") -> None:
        super().__init__(f"{reason}. Try again in {retry_after_s} s.")
        self.headers = ((b"retry-after", b"%d" % retry_after_s),)


class TooManyRequests(ProxyError):
    """The account has too many requests in progress, or too long ones; a later one may fit."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(f"{reason}. Try again in {retry_after_s} s.")
        self.headers = ((b"retry-after", b"%d" % retry_after_s),)


class UpstreamIncomplete(ProxyError):
    """The upstream accepted the request and broke off; what arrived was charged.

    Deliberately not a status that SDKs retry: a retry would be charged again.
    """

    status = 424
    type = "upstream_error"
    code = "upstream_incomplete"


class UpstreamAuth(ProxyError):
    """The upstream refused the operator's key."""

    status = 502
    type = "upstream_error"
    code = "upstream_auth"
    final = True


class UpstreamQuota(ProxyError):
    """The operator's money at the upstream is used up; the caller's balance has not changed."""

    status = 503
    type = "upstream_error"
    code = "upstream_quota"
    final = True


class UpstreamUnavailable(ProxyError):
    """The upstream could not be reached; nothing was charged."""

    status = 502
    type = "upstream_error"
    code = "upstream_unavailable"


class UpstreamLoop(ProxyError):
    """The request came from this server itself, which is configured as its own upstream."""

    status = 508
    type = "upstream_error"
    code = "upstream_loop"
    headers = ((b"x-should-retry", b"false"),)


class UpstreamTimeout(ProxyError):
    """The upstream did not respond in time; nothing was charged."""

    status = 504
    type = "upstream_error"
    code = "upstream_timeout"


class UpstreamNotConfigured(ProxyError):
    """The operator has not set OPENAI_API_KEY."""

    status = 503
    code = "upstream_not_configured"
    final = True


class StorageFull(ProxyError):
    """The disk has no room for an upload."""

    status = 507
    code = "storage_full"
    final = True

    def __init__(self) -> None:
        super().__init__(
            "The disk of this server has no room for the upload; nothing was sent or charged. The"
            " operator must free some, or move TOKENBALANCE_DATA_DIR."
        )


class ServiceUnavailable(ProxyError):
    """Nothing is dispatched: database or journal are unavailable, or the server shuts down."""

    status = 503
    code = "service_unavailable"
    headers = ((b"retry-after", b"1"),)

    def __init__(self, reason: str = "The service is temporarily unavailable") -> None:
        super().__init__(f"{reason}; nothing was sent or charged. Try again.")


class TooManySigningIn(ServiceUnavailable):
    """The password was neither verified nor changed; the attempt does not count."""

    def __init__(self, message: str) -> None:
        ProxyError.__init__(self, message)


def error_document(error: ProxyError) -> dict[str, dict[str, str | None]]:
    """OpenAI's error envelope, always with all four keys."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def headers_of(error: ProxyError) -> Sequence[tuple[bytes, bytes]]:
    """Every header of an error response, except those about its body."""
    headers = dict(error.headers)
    if _is_final(error):
        headers[b"x-should-retry"] = b"false"
    return tuple(headers.items())


def _is_final(error: ProxyError) -> bool:
    if error.final is not None:
        return error.final
    is_of_the_request = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_of_the_request and error.status not in _PASSING


def render(error: ProxyError) -> bytes:
    """The envelope as the bytes of a response body."""
    return orjson.dumps(error_document(error))

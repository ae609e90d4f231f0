"""The reason of an upstream's error: whose fault it is, and whose message the caller gets.

The status alone is not enough. OpenAI returns 403 for a key that it refuses, for a model that the
operator's project may not use, and for content that it forbids; 429 for too many requests, and for
an empty account. So the code, the type and, without a code, the message are read.

    about a model (403, 404)          404  model_not_found
    the operator's money is out       503  upstream_quota
    401, and 403 about the key        502  upstream_auth
    403 that names the operator's     403  permission_denied
    everything else                   unchanged: it is about the request

Our messages contain nothing of the operator's: no project, no organization, no key. An error inside
a 2xx, whose status is already sent, keeps its shape and its place: only its code, its type and its
message are replaced. This file is pure: it knows no connection and no hold, and must never raise
for anything the upstream sends.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from tokenbalance.errors import ModelNotFound, NotAllowed, ProxyError, UpstreamAuth, UpstreamQuota
from tokenbalance.openai.metering.sse import data_lines, document_of, event_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json

ERROR_BYTES_MAX: Final = 64 * 1024
"""Bytes of an error's body that are read to find its reason; OpenAI's have less than 1 KiB."""

_MODEL_CHARS_MAX: Final = 100
_WORDS_CHARS_MAX: Final = 1000
"""Characters of a member of an error that are read; the reason is at the beginning."""
_ERROR_KEY: Final = b'"error"'
_ERROR: Final = re.compile(rb'"error"[ \t\r\n]*:[ \t\r\n]*\{')
_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r){2}")

# OpenAI's guide to error codes, the codes of its session errors (SDK 3.54), and variants of
# compatible gateways.
_MONEY: Final = re.compile(
    r"insufficient_(?:user_)?(?:quota|credits?|balance|funds)"
    r"|billing_\w+|payment_required|quota_exceeded|access_terminated|account_deactivated"
    r"|credits?_(?:balance_)?(?:exhausted|too_low)"
    r"|(?:\w+_)?(?:spend|usage|budget|quota)_(?:hard_)?limit_(?:exceeded|reached)"
)
_KEY: Final = re.compile(
    r"(?:invalid|incorrect|missing|expired|revoked)_(?:api_)?key|authentication_error|unauthorized"
    r"|(?:insufficient|missing)_(?:permissions?|scopes?)|ip_not_(?:authorized|allowed)"
    r"|(?:invalid|mismatched)_(?:organization|project)|account_deactivated"
)
_REFUSED_KEYS: Final = frozenset({"invalid_api_key", "incorrect_api_key"})
"""Inside a 2xx the other codes may be about a tool server that the caller has chosen."""
_KEY_WORDS: Final = re.compile(
    r"\b(?:api[ _-]?keys?|keys?|scopes?|credentials?|insufficient permissions|authenticat\w+"
    r"|ip address)\b",
    re.IGNORECASE,
)
_MODEL: Final = frozenset({"model_not_found", "model_not_available", "deploymentnotfound"})
_MODEL_WORDS: Final = re.compile(
    r"\bmodels?\b.*(?:not exist|not found|not available|(?:no|not have) access|deprecated|retired)"
    r"|(?:no|not have|not authorized to|cannot) access\b.*\bmodel\b"
    r"|not allowed to sample from this model|must be verified to use the model",
    re.IGNORECASE | re.DOTALL,
)
_OPERATORS: Final = re.compile(
    r"\b(?:(?:org|proj)[-_]\w{6,}|sk-[\w*-]{3,}|user-[A-Za-z0-9]{16,}|(?:\d{1,3}\.){3}\d{1,3}\b)"
)
_OPERATORS_BYTES: Final = re.compile(_OPERATORS.pattern.encode())


class Verdict(NamedTuple):
    """What a caller gets instead of the upstream's error."""

    error: ProxyError
    code: str
    """The upstream's own code, for the operator; empty if it has none that can be shown."""


class Reworded(NamedTuple):
    """The bytes of a response with an error that has our message."""

    body: bytes
    verdict: Verdict


class _Reason(NamedTuple):
    """The members of an error; empty ones are missing."""

    code: str = ""
    kind: str = ""
    param: str = ""
    message: str = ""

    def is_one_of(self, known: re.Pattern[str]) -> bool:
        return any(known.fullmatch(name) is not None for name in (self.code, self.kind))

    @property
    def is_about_the_model(self) -> bool:
        return self.code in _MODEL or _MODEL_WORDS.search(self.message) is not None


def judge(status: int, body: bytes, model: str | None) -> Verdict | None:
    """Find out the reason of a response outside 2xx.

    Args:
        status: its status.
        body: its first ERROR_BYTES_MAX bytes.
        model: the model of the request, for the message to its caller.

    Returns:
        None if it is about the request, and so is passed on unchanged.

    """
    if status < HTTPStatus.BAD_REQUEST:
        return None
    document = document_of(body)
    reason = _reason_of(_error_in(document) or document)
    error: ProxyError | None = None
    match status:
        case HTTPStatus.UNAUTHORIZED:
            error = _no_key()
        case HTTPStatus.PAYMENT_REQUIRED:
            error = _no_money()
        case _ if reason.is_one_of(_MONEY):
            error = _no_money()
        case HTTPStatus.FORBIDDEN:
            error = _forbidden(reason, model)
        case HTTPStatus.NOT_FOUND if reason.is_about_the_model:
            error = _no_model(model)
        case _:
            pass
    return None if error is None else Verdict(error, _shown(reason))


def without_operators_names(body: bytes) -> bytes:
    """Return an error with the operator's ids and keys replaced by `***`."""
    return _OPERATORS_BYTES.sub(b"***", body)


def document_in_our_words(body: bytes, model: str | None) -> Reworded | None:
    """Replace an error inside a 2xx that is about the operator's key, money or models.

    Only code, type and message are replaced: the status is already sent, and clients expect the
    upstream's shape.

    Returns:
        None if it stays unchanged.

    """
    # The pattern is slow where nothing begins like one, which is nearly always so.
    if body.find(_ERROR_KEY) < 0 or _ERROR.search(body) is None:
        return None
    document = document_of(body)
    verdict = _reword(_error_in(document), model)
    return None if verdict is None else Reworded(orjson.dumps(document), verdict)


def events_in_our_words(events: bytes, model: str | None) -> Reworded | None:
    """Do the same for the events that end a stream; each is rewritten or stays unchanged."""
    found: Verdict | None = None
    kept: list[bytes] = []
    for event in _each(events):
        lines = data_lines(event)
        document = document_of(b"\n".join([event[start:end] for start, end in lines]))
        is_error = document.get("type") == "error" or event_name(event) == "error"
        verdict = _reword(_error_in(document) or (document if is_error else {}), model)
        if verdict is None:
            kept.append(event)
        else:
            found = verdict
            kept += [event[: lines[0].start], orjson.dumps(document), event[lines[-1].end :]]
    return None if found is None else Reworded(b"".join(kept), found)


def _reword(error: Json, model: str | None) -> Verdict | None:
    reason = _reason_of(error)
    ours: ProxyError
    if reason.is_one_of(_MONEY):
        ours = _no_money()
    elif reason.code in _REFUSED_KEYS:
        ours = _no_key()
    elif reason.code in _MODEL:
        ours = _no_model(model)
    else:
        return None
    if isinstance(error, dict):
        error["code"], error["message"] = ours.code, ours.message
        if reason.kind not in {"", "error"}:
            error["type"] = ours.type
    return Verdict(ours, _shown(reason))


def _each(events: bytes) -> Iterator[bytes]:
    start = 0
    for blank_line in _EVENT_END.finditer(events):
        yield events[start : blank_line.end()]
        start = blank_line.end()
    if start < len(events):
        yield events[start:]


def _error_in(document: Document) -> Json:
    """Return the error in a document or an event."""
    response = document.get("response")
    of_the_response = response.get("error") if isinstance(response, dict) else None
    return document.get("error") or of_the_response


def _reason_of(error: Json) -> _Reason:
    if not isinstance(error, dict):
        return _Reason(message=_text(error))
    return _Reason(
        _text(error.get("code")).lower(),
        _text(error.get("type")).lower(),
        _text(error.get("param")),
        _text(error.get("message")),
    )


def _text(value: Json) -> str:
    return value[:_WORDS_CHARS_MAX] if isinstance(value, str) else ""


def _forbidden(reason: _Reason, model: str | None) -> ProxyError | None:
    if reason.is_about_the_model or reason.param == "model":
        return _no_model(model)
    # Without a reason, it is nearly always about the key.
    says_nothing = not (reason.code or reason.message)
    if says_nothing or reason.is_one_of(_KEY) or _KEY_WORDS.search(reason.message):
        return _no_key()
    if _OPERATORS.search(reason.message):
        return NotAllowed("The upstream does not allow this request; nothing was charged.")
    return None


def _no_model(model: str | None) -> ModelNotFound:
    is_shown = model is not None and len(model) <= _MODEL_CHARS_MAX and model.isprintable()
    named = f"The model `{model}`" if is_shown else "The model"
    message = f"{named} does not exist, or it is not available through this server."
    return ModelNotFound(message, param="model")


def _no_money() -> UpstreamQuota:
    return UpstreamQuota(
        "This server's own account at the upstream has no money left or is not active. This is not"
        " your balance, and only the operator can fix it."
    )


def _no_key() -> UpstreamAuth:
    return UpstreamAuth("The upstream refused the operator's key; only the operator can fix this.")


def _shown(reason: _Reason) -> str:
    """Return a name that is safe to log: codes are words, and no secret has only letters."""
    names = (name for name in (reason.code, reason.kind) if re.fullmatch(r"[a-z_]{1,64}", name))
    return next(names, "")

"""Protects forms against requests from other sites: every POST is checked before its handler runs.

A form contains a token derived from a secret that is only in the browser's cookie: no other site
can forge it, and nothing is stored for it. If the browser says which site a request comes from,
other sites are refused as well.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from tokenbalance.errors import NotAllowed

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN_FIELD: Final = "form-token"  # noqa: S105 - a field's name
_USUAL_PORTS: Final = {"http": 80, "https": 443}
FormRefusal: TypeAlias = Literal["wrong_token", "foreign_origin"]
_PURPOSE: Final = b"tokenbalance: token of a form"


class ForeignForm(NotAllowed):
    """The form was not issued to this browser in this session."""

    def __init__(self, message: str, reason: FormRefusal) -> None:
        super().__init__(message)
        self.reason: FormRefusal = reason


def form_token(secret: str) -> str:
    """Derive the token of forms from the secret in the browser's cookie."""
    return hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def check_token(secret: str | None, token: str) -> None:
    """Require the token that belongs to the secret.

    Raises:
        ForeignForm: the token is missing or wrong.

    """
    if secret is None or not hmac.compare_digest(form_token(secret).encode(), token.encode()):
        msg = (
            "This form has expired: it was opened before you signed in or out, or your browser"
            " blocks cookies. Nothing was changed. Go back, reload the page, and try again."
        )
        raise ForeignForm(msg, "wrong_token")


def check_origin(request: Request) -> None:
    """Refuse a request that the browser attributes to another site.

    Schemes are not compared: they may differ behind a reverse proxy that terminates TLS.

    Raises:
        ForeignForm: it comes from another site.

    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in {"same-origin", "none"} or (origin is not None and not is_ours(request, origin)):
        msg = "This form was sent from another site. Nothing was changed."
        raise ForeignForm(msg, "foreign_origin")


def is_ours(request: Request, url: str) -> bool:
    """Whether an origin, or any URL, is of the host of the request.

    Browsers omit default ports, reverse proxies may not. Schemes are not compared.
    """
    try:
        theirs = urlsplit(url)
        host = urlsplit(f"//{request.headers.get('host', '')}")
        ports = (theirs.port, host.port)
    except ValueError:
        return False
    usual = _USUAL_PORTS.get(theirs.scheme)
    is_same_port = ports[0] == ports[1] or (
        ports[0] in {None, usual} and ports[1] in {None, *_USUAL_PORTS.values()}
    )
    return theirs.hostname == host.hostname is not None and is_same_port

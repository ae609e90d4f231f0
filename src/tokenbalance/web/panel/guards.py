"""Whether a POST comes from a form of ours: asked of every one, before anything is changed.

A form carries a token that follows from a secret which only the browser's cookie holds: nobody
else can make one, and nothing is stored for it. Where the browser says which site a request comes
from, a foreign one is refused as well.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tokenbalance.errors import NotAllowed

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN_FIELD: Final = "form-token"  # noqa: S105 - a field's name
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_PURPOSE: Final = b"tokenbalance: token of a form"


class ForeignForm(NotAllowed):
    """The form is not one that this browser got from here, or not in this session."""


def form_token(secret: str) -> str:
    """The token of every form that a browser with this secret in its cookie is shown."""
    return hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def check_token(secret: str | None, token: str) -> None:
    """Go on only with the token that belongs to the secret.

    Raises:
        ForeignForm: it is another one, or none.

    """
    if secret is None or not hmac.compare_digest(form_token(secret).encode(), token.encode()):
        msg = (
            "This form is out of date: it was opened before you signed in or out, or your browser"
            " keeps no cookies. Nothing was changed. Go back, reload the page, and try again."
        )
        raise ForeignForm(msg)


def check_origin(request: Request) -> None:
    """Go on only when the browser does not say that another site sends this.

    The schemes are not compared: behind a reverse proxy that ends TLS they may differ.

    Raises:
        ForeignForm: it comes from elsewhere.

    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in {"same-origin", "none"} or (origin is not None and not is_ours(request, origin)):
        msg = "This form was sent from another site. Nothing was changed."
        raise ForeignForm(msg)


def is_ours(request: Request, url: str) -> bool:
    """Tell whether an origin, or any URL, is of the host that was asked.

    Browsers leave a usual port out, reverse proxies may write it. Schemes are not compared.
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

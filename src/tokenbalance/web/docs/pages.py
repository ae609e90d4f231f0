"""The documentation pages: Swagger UI, ReDoc, and the schema that both read.

Owns `/docs`, `/redoc`, `/openapi.json` and the aliases `/api/docs`, `/api/schema`. Scripts and
styles are package data: the pages must never load anything from another host, nor contain an inline
script, so that they work in closed networks and under a strict policy.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

import orjson
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from tokenbalance import __version__

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import Scope

ASSETS = "/docs/assets"
SCHEMA = "/openapi.json"

_FOLDER = Path(__file__).parent / "static"

# The URLs of assets contain the version, so that no release uses the scripts of an older one.
_ASSET_HEADERS = {
    "cache-control": "public, max-age=86400",
    "x-content-type-options": "nosniff",
}

# Both pages add inline styles; ReDoc searches in a worker that it creates from a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="{favicon}">
{head}</head>
<body>
<noscript>This page needs JavaScript. The schema itself is at <a href="{schema}">{schema}</a>.
</noscript>
{body}
</body>
</html>
"""


def mount_docs(app: FastAPI) -> None:
    """Add the pages, the schema and their aliases to an app that was made without its own.

    The app must be created with `docs_url=None` and `redoc_url=None`. The pages show what
    `app.openapi()` returns when they are requested.
    """

    async def swagger(request: Request) -> Response:
        return _swagger_page(app.title, _root(request))

    async def redoc(request: Request) -> Response:
        return _redoc_page(app.title, _root(request))

    async def schema(request: Request) -> Response:
        root = _root(request)
        servers = {"servers": [{"url": root}]} if root else {}
        document = orjson.dumps({**servers, **app.openapi()})
        return Response(document, media_type="application/json")

    pages = {"/docs": swagger, "/redoc": redoc, SCHEMA: schema}
    aliases = {"/api/docs": swagger, "/api/schema": schema}
    for path, page in {**pages, **aliases}.items():
        app.add_route(path, page, include_in_schema=False)
    # The original project's paths end with a slash.
    for path, page in aliases.items():
        app.add_route(f"{path}/", page, include_in_schema=False)
    app.mount(ASSETS, _Assets(directory=_FOLDER), name="docs-assets")


class _Assets(StaticFiles):
    """Package data with an ETag, cached for a day."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_ASSET_HEADERS)
        return response


def _root(request: Request) -> str:
    """Return the prefix below which a reverse proxy serves the app; usually empty."""
    return cast("str", request.scope.get("root_path", "")).rstrip("/")


def _swagger_page(title: str, root: str) -> HTMLResponse:
    styles = f'<link rel="stylesheet" href="{_asset(root, "swagger-ui.css")}">\n'
    body = (
        f'<main id="swagger-ui" data-schema="{escape(root + SCHEMA)}"></main>\n'
        f'<script src="{_asset(root, "swagger-ui-bundle.js")}"></script>\n'
        f'<script src="{_asset(root, "swagger-ui.js")}"></script>'
    )
    return _page(title, root, head=styles, body=body)


def _redoc_page(title: str, root: str) -> HTMLResponse:
    body = (
        f'<redoc spec-url="{escape(root + SCHEMA)}"></redoc>\n'
        f'<script src="{_asset(root, "redoc.standalone.js")}"></script>'
    )
    return _page(title, root, head="", body=body)


def _page(title: str, root: str, *, head: str, body: str) -> HTMLResponse:
    page = _PAGE.format(
        title=escape(title),
        favicon=_asset(root, "favicon.png"),
        schema=escape(root + SCHEMA),
        head=head,
        body=body,
    )
    return HTMLResponse(page, headers=_PAGE_HEADERS)


def _asset(root: str, name: str) -> str:
    return escape(f"{root}{ASSETS}/{name}?{urlencode({'v': __version__})}")

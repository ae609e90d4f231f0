"""The documentation pages, read as a browser without internet would read them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI

from tokenbalance.web.docs.pages import mount_docs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGES = ["/docs", "/api/docs", "/redoc"]


class References(HTMLParser):
    """Collects what a page loads, and the scripts that stand in the page itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline_scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = ("src", "href", "spec-url", "data-schema")
        self.loaded += [value for name in names if (value := given.get(name))]
        self.inline_scripts += tag == "script" and "src" not in given


def read(page: str) -> References:
    references = References()
    references.feed(page)
    return references


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI(title="A <title>", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/api/thing", summary="A thing")
    async def thing() -> int:
        return 1

    mount_docs(app)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://docs.test") as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
async def test_everything_that_a_page_loads_is_served_by_the_app(
    client: httpx2.AsyncClient, path: str
) -> None:
    page = await client.get(path)
    references = read(page.text)
    assert page.status_code == 200
    assert len(references.loaded) >= 3
    for address in references.loaded:
        assert not urlsplit(address).netloc
        response = await client.get(address)
        assert response.status_code == 200, address
        assert response.content


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_no_inline_script_and_its_policy_forbids_one(
    client: httpx2.AsyncClient, path: str
) -> None:
    page = await client.get(path)
    assert read(page.text).inline_scripts == 0
    policy = page.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "<title>A &lt;title&gt;</title>" in page.text


@pytest.mark.parametrize("path", ["/openapi.json", "/api/schema"])
async def test_the_schema_lists_the_routes_but_not_the_pages(
    client: httpx2.AsyncClient, path: str
) -> None:
    schema = (await client.get(path)).json()
    assert list(schema["paths"]) == ["/api/thing"]


async def test_assets_may_be_cached_and_are_validated_by_etag(client: httpx2.AsyncClient) -> None:
    address = "/docs/assets/redoc.standalone.js"
    first = await client.get(address)
    assert first.headers["cache-control"] == "public, max-age=86400"
    again = await client.get(address, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_scripts_load_nothing_from_the_hosts_that_they_know(
    client: httpx2.AsyncClient,
) -> None:
    redoc = (await client.get("/docs/assets/redoc.standalone.js")).text
    styles = (await client.get("/docs/assets/swagger-ui.css")).text
    start = (await client.get("/docs/assets/swagger-ui.js")).text
    assert "cdn.redoc.ly" not in redoc
    assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", styles)
    assert "validatorUrl: null" in start


async def test_pages_behind_a_prefix_load_from_below_it() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    mount_docs(app)
    transport = httpx2.ASGITransport(app, root_path="/proxy")
    async with httpx2.AsyncClient(transport=transport, base_url="http://docs.test") as client:
        page = await client.get("/proxy/docs")
        schema = await client.get("/proxy/openapi.json")
    assert all(address.startswith("/proxy/") for address in read(page.text).loaded)
    assert schema.json()["servers"] == [{"url": "/proxy"}]

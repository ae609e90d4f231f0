"""A real browser whose complaints count: console errors, refused content, requests elsewhere."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

    from tests.support.people import Somebody

PATIENCE_MS = 60_000
"""Of a test with the browser, on a machine that may be busy."""
_OWN_SCHEMES = {"data", "blob", "about"}


@dataclass
class WatchedBrowser:
    """A browser's window, and what went wrong in it."""

    context: BrowserContext
    page: Page
    product: str
    expected_statuses: set[int] = field(default_factory=set)
    """Of errors that the test provokes: chromium says such answers on the console."""
    complaints: list[str] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, chromium: Browser, product: str, **options: Any
    ) -> AsyncGenerator[WatchedBrowser]:
        """Open a window with nothing in its cookies."""
        context = await chromium.new_context(base_url=product, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        browser = cls(context, page, product)
        context.on("console", browser._on_console)
        context.on("request", browser._on_request)
        context.on("weberror", lambda error: browser.complaints.append(str(error.error)))
        try:
            yield browser
        finally:
            await context.close()

    async def sign_in(self, somebody: Somebody) -> None:
        """Sign somebody in, by hand."""
        await self.page.goto("/")
        await self.page.get_by_label("E-mail").fill(somebody.email)
        await self.page.get_by_label("Password").fill(somebody.password)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def check(self) -> None:
        """Fail when anything was amiss."""
        assert self.complaints == []

    def _on_console(self, message: ConsoleMessage) -> None:
        known = any(f"status of {status}" in message.text for status in self.expected_statuses)
        if message.type in {"error", "warning"} and not known:
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in _OWN_SCHEMES and parts.netloc != urlsplit(self.product).netloc:
            self.complaints.append(f"a request to another host: {request.url}")

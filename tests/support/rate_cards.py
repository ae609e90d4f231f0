"""A rate card, and the product with one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from tests.support.chat import CHAT
from tests.support.product import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream

CARD = """
[[models]]
match = "gpt-4o-mini*"
input = 0.5
cached_input = 0.25
output = 2
reasoning = 3
audio_input = 10
audio_output = 20
request = 1

[[models]]
match = "gpt-4.1"
input = 1
output = 0

[[models]]
match = "text-embedding-*"
input = 0.1
output = 0
"""


def written(folder: Path, text: str) -> Path:
    """Write a card into a folder."""
    path = folder / "card.toml"
    path.write_text(text)
    return path


@asynccontextmanager
async def priced(
    dsn: str, upstream: ScriptedUpstream, card: Path | None, **more: Any
) -> AsyncGenerator[httpx2.AsyncClient]:
    """Serve the product with a card, if there is one; yields a client of it."""
    async with (
        serving(dsn, upstream.base_url, rate_card=card, **more) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield http


async def post(http: httpx2.AsyncClient, holder: Holder, **body: Any) -> httpx2.Response:
    """Send a chat."""
    return await http.post("/v1/chat/completions", json={**CHAT, **body}, headers=holder.headers)

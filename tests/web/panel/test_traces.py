"""How a request went, on the pages that explain it and list it, and what was refused today."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder, placed
from tests.support.refused import refuse
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import UNTRACED, Trace, Usage

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.people import People
    from tokenbalance.database.connections import Pool

USED = Usage({"input": 9, "output": 3}, total=12)
WENT = Trace(200, None, "req_1", 812, 12_340, streamed=True, output_cap=512, capped=True)
VOIDED = Trace(total_ms=5, streamed=False, output_cap=50, capped=False)


async def test_a_capped_request_says_so_and_how_it_went(admin: Admin, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    book = Book(pool, 60)
    _ = await book.settle(await placed(book, holder, "tb_1", 100), USED, WENT)
    page = (await admin.pages.see("/admin/requests/tb_1")).text
    assert "<p>The output was capped at 512 tokens: the balance did not cover more.</p>" in page
    for fact in (
        "<dt>Stream</dt><dd>yes</dd>",
        "<dt>Output limit sent</dt><dd>512 tokens, set by the balance</dd>",
        "<dt>Until the response began</dt><dd>812 ms</dd>",
        "<dt>In all</dt><dd>12.3 s</dd>",
        "<dt>Upstream status</dt><dd>200</dd>",
        '<dt>Upstream request id</dt><dd><code class="id">req_1</code></dd>',
    ):
        assert fact in page
    listed = (await admin.pages.see("/admin/requests")).text
    assert '<td class="amount minor">200</td>\n<td class="amount minor">12.3 s</td>' in listed


@pytest.mark.parametrize(
    ("trace", "note"),
    [
        (
            VOIDED._replace(upstream_status=429, error_code="rate_limit_exceeded"),
            "The upstream responded with status 429 (rate_limit_exceeded), so nothing was charged.",
        ),
        (
            VOIDED._replace(upstream_status=502),
            "The upstream responded with status 502, so nothing was charged.",
        ),
        (
            VOIDED._replace(upstream_status=200, error_code="server_error"),
            "The response of the upstream was an error (server_error), so nothing was charged.",
        ),
        (
            VOIDED._replace(upstream_status=200),
            "The response of the upstream had nothing in it, so nothing was charged.",
        ),
        (
            VOIDED._replace(error_code="upstream_timeout"),
            "The upstream did not respond (upstream_timeout), so nothing was charged.",
        ),
        (VOIDED, "It was never sent to the upstream, so nothing was charged."),
        (UNTRACED, "it was refused or failed before it had used anything"),
    ],
)
async def test_a_voided_request_says_why_it_cost_nothing(
    admin: Admin, pool: Pool, trace: Trace, note: str
) -> None:
    book = Book(pool, 60)
    await book.void(await placed(book, await create_holder(pool, 1000), "tb_1", 100), trace)
    page = (await admin.pages.see("/admin/requests/tb_1")).text
    assert note in page
    assert "capped" not in page


async def test_refusals_of_today_are_on_the_pages_of_the_account(
    admin: Admin, people: People, pool: Pool
) -> None:
    somebody = await people.create()
    here = f"/admin/users/{somebody.user_id}"
    async with people.signed_in(somebody) as pages:
        for path, reader in (("/account", pages), (here, admin.pages)):
            assert "Refused today" not in (await reader.see(path)).text
        for key_id in (1, 2):
            await refuse(pool, somebody.account_id, key_id, "insufficient_quota", 600)
        await refuse(pool, somebody.account_id, 1, "balance_held", 3)
        words = (
            "Refused today (UTC): 1,200 \u00d7 <code>insufficient_quota</code>,"
            " 3 \u00d7 <code>balance_held</code>"
        )
        for path, reader in (("/account", pages), (here, admin.pages)):
            assert words in (await reader.see(path)).text

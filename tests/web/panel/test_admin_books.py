"""The rates in force and the health of the books, as superusers see them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import postgres
from tests.support.books import create_holder, end_leases, placed
from tests.support.people import People
from tests.support.product import serving
from tokenbalance.books.ledger import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_sessions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.support.people import Pages
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.postgres import EmbeddedPostgres

CARD = """
unpriced = "{unpriced}"
{default}

[[models]]
match = "gpt-4o-mini*"
input = 0.15
cached_input = 0.075
output = 0.6
request = 2

[[models]]
match = "gpt-<4o>*"
input = 2.5
output = 10
"""
DEFAULT = "[default]\ninput = 1\noutput = 1"


@pytest.fixture
async def dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """Books that no other product answers for: the page counts them."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture
async def sessions(dsn: str) -> AsyncIterator[Sessions]:
    async with open_sessions(dsn) as sessions:
        yield sessions


@asynccontextmanager
async def administration(
    dsn: str, sessions: Sessions, card: Path | None = None
) -> AsyncGenerator[Pages]:
    """Serve the product with a rate card, to a superuser."""
    async with serving(dsn, None, rate_card=card) as url:
        people = People(sessions, url)
        async with people.signed_in(await people.create(is_superuser=True)) as pages:
            yield pages


def written(folder: Path, *, refuses: bool) -> Path:
    card = folder / "card.toml"
    text = CARD.format(
        unpriced="refuse" if refuses else "default", default="" if refuses else DEFAULT
    )
    _ = card.write_text(text)
    return card


# --- rates


async def test_without_a_card_a_credit_is_a_token(dsn: str, sessions: Sessions) -> None:
    async with administration(dsn, sessions) as pages:
        assert (
            "There is no rate card: every token is one credit"
            in (await pages.see("/admin/rates")).text
        )
        page = await pages.see("/admin/rates?input=1,000&output=234")
        assert '<th scope="row" colspan="3">Charge</th><td class="amount">1,234</td>' in page.text


async def test_the_card_in_force_is_shown_in_its_order(
    dsn: str, sessions: Sessions, tmp_path: Path
) -> None:
    async with administration(dsn, sessions, written(tmp_path, refuses=True)) as pages:
        page = (await pages.see("/admin/rates")).text
        assert page.index("gpt-4o-mini*") < page.index("gpt-&lt;4o&gt;*")
        assert "all other models are refused" in page
        assert '<td class="amount">0.075</td>' in page


async def test_the_rates_of_all_other_models_are_the_last_row(
    dsn: str, sessions: Sessions, tmp_path: Path
) -> None:
    async with administration(dsn, sessions, written(tmp_path, refuses=False)) as pages:
        page = (await pages.see("/admin/rates")).text
        assert "every other model" in page
        assert "All other models have the rates of the last row" in page


async def test_a_bill_is_worked_out_by_the_card(
    dsn: str, sessions: Sessions, tmp_path: Path
) -> None:
    async with administration(dsn, sessions, written(tmp_path, refuses=True)) as pages:
        tokens = "input=100&cached_input=10&output=7&reasoning=3"
        page = (await pages.see(f"/admin/rates?model=gpt-4o-mini-2024&{tokens}")).text
        # 100 x 0.15 + 10 x 0.075 + 10 x 0.6 + 2 = 23.75
        for cell in ("15", "0.75", "4.2", "1.8", "2", "23.75", "0.25", "24"):
            assert f'<td class="amount">{cell}</td>' in page
        unpriced = await pages.get("/admin/rates?model=o9&input=1")
        assert unpriced.status_code == 400
        assert "has no rate for this model" in unpriced.text
        for wrong in ("model=&input=1", "model=a&input=x", "model=a&input=-1", "model=%00"):
            assert (await pages.get(f"/admin/rates?{wrong}")).status_code == 400
        page = (await pages.see("/admin/rates?model=gpt-4o-mini&input=0")).text
        assert "Without usage there is no charge." in page


# --- books


async def test_right_books_are_proved_right(dsn: str, sessions: Sessions, pool: Pool) -> None:
    await create_holder(pool, 1000)
    async with administration(dsn, sessions) as pages:
        page = (await pages.see("/admin/books")).text
        assert "The books are correct" not in page
        assert '<dt>Journal</dt><dd><span class="badge good">ready</span>' in page
        assert "in 1 process" in page
        page = (await pages.see("/admin/books?verify=yes")).text
        assert "The books are correct: no violations found." in page
        assert "<dt>Accounts</dt><dd>2</dd>" in page
        assert "<dt>Ledger entries</dt><dd>1</dd>" in page


async def test_what_is_wrong_with_the_books_is_named(
    dsn: str, sessions: Sessions, pool: Pool
) -> None:
    holder = await create_holder(pool, 1000)
    await pool.execute("UPDATE accounts SET balance = 999 WHERE id = $1", holder.account_id)
    async with administration(dsn, sessions) as pages:
        page = (await pages.see("/admin/books?verify=yes")).text
        assert "The books are not correct: " in page
        assert f"<li><code>account {holder.account_id}" in page


async def test_holds_that_nobody_answers_for_are_told(
    dsn: str, sessions: Sessions, pool: Pool
) -> None:
    holder = await create_holder(pool, 1000)
    async with serving(dsn, None, sweep_s=3600) as url:
        people = People(sessions, url)
        async with people.signed_in(await people.create(is_superuser=True)) as pages:
            await placed(Book(pool, 60), holder, "tb_1", 100)
            page = (await pages.see("/admin/books")).text
            assert "1, for 100 credits" in page
            assert "open holds of crashed processes" not in page
            await end_leases(pool)
            assert "open holds of crashed processes" in (await pages.see("/admin/books")).text


async def test_the_books_are_verified_once_at_a_time(
    dsn: str, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow_audit(pool: Pool) -> audit.AuditReport:
        begun.set()
        _ = await may_end.wait()
        return await audit.audit(pool)

    monkeypatch.setattr("tokenbalance.web.panel.admin.books.audit", slow_audit)
    async with administration(dsn, sessions) as pages:
        first = asyncio.create_task(pages.get("/admin/books?verify=yes"))
        _ = await begun.wait()
        page = (await pages.see("/admin/books?verify=yes")).text
        assert "A verification is already running" in page
        assert "Current state" in (await pages.see("/admin/books")).text
        may_end.set()
        assert "The books are correct" in (await first).text
        assert "The books are correct" in (await pages.see("/admin/books?verify=yes")).text

"""Models and prices: the page for everybody, the administrators' page, and a charge by them."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.async_api import expect

from tests.support.books import create_holder
from tests.support.dear_requests import CARD, CHARGE, settle_dear
from tests.support.people import People
from tests.support.product import serving
from tests.support.rate_cards import written
from tests.support.watched_browser import WatchedBrowser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tests.support.admin import Admin
    from tokenbalance.database.connections import Pool, Sessions

PATH = "/account/models"
NEXT_YEAR = datetime.now(UTC).date() + timedelta(days=365)
DATED = f"""
[[models]]
match = ["gpt-<4o>*", "gpt-4o"]
valid_from = 2026-01-01
input = 1250.5
output = 10
request = 3
second_audio = 75

[[models]]
match = ["gpt-<4o>*", "gpt-4o"]
valid_from = {NEXT_YEAR}
input = 1000
output = 10
"""


@pytest.fixture(scope="module")
async def priced_product(
    shared_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The product with a rate card, one for the file."""
    card = written(tmp_path_factory.mktemp("card"), CARD + DATED)
    async with serving(shared_dsn, None, rate_card=card, sweep_s=3600) as url:
        yield url


@pytest.fixture
def priced(sessions: Sessions, priced_product: str) -> People:
    """Makes users, and signs them in there."""
    return People(sessions, priced_product)


def text_of(page: str) -> str:
    """Leave out marks and spaces between words."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


async def test_without_a_card_the_page_says_that_a_token_is_a_credit(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        page = (await pages.see(PATH)).text
    assert "Every token is one credit, for every model and kind" in page
    assert "<table" not in page


async def test_everybody_sees_what_models_cost_today_and_from_when_it_changes(
    priced: People,
) -> None:
    async with priced.signed_in(await priced.create()) as pages:
        page = (await pages.see(PATH)).text
        assert "gpt-&lt;4o&gt;*" in page
        assert '<td class="amount">1,250.5</td>' in page
        shown = text_of(page)
        for words in (
            "gpt-4o since 2026-01-01 1,250.5 1,250.5 10 Seconds of audio: 75 Request: 3",
            f"gpt-4o from {NEXT_YEAR} 1,000 1,000 10",
            "Cache write tokens, 12 hours: 5",
            "More than 272,000 input tokens: input \u00d7 2, output \u00d7 1.5",
            "Service tier flex \u00d7 0.5, fast \u00d7 5/3, priority \u00d7 5/3",
            "Batch \u00d7 0.5",
            "Web search: 10,000 a call",
            "Code interpreter: 30,000 a session",
            "Requests for all other models are refused, because they have no rate.",
        ):
            assert words in shown, words
        found = text_of((await pages.see(f"{PATH}?search=GPT-IMAGE-2")).text)
        assert "gpt-image-*" not in found
        assert "No price for such a model." in found
        found = text_of((await pages.see(f"{PATH}?search=gpt-image-2")).text)
        assert "gpt-image-*" in found
        assert "gpt-6.2-sol*" not in found
        for wrong in ("search=%00", f"search={'x' * 201}", "model=a"):
            assert (await pages.get(f"{PATH}?{wrong}")).status_code == 400, wrong
        assert (await pages.get(f"{PATH}?after=x")).status_code == 404
    async with priced.pages() as nobody:
        assert (await nobody.get(PATH)).status_code == 303


async def test_a_bill_has_tier_and_calls(priced: People) -> None:
    async with priced.signed_in(await priced.create(is_superuser=True)) as pages:
        used = "input=1,000&output=10&cache_write_12h=100&call:web_search=7"
        page = text_of((await pages.see(f"/admin/rates?model=gpt-6.2-sol&tier=fast&{used}")).text)
        # (1,000 x 2 + 100 x 5 + 10 x 10) x 5/3 + 70,000 = 74,333 1/3
        for words in (
            "Cache write tokens, 12 hours 100 5 5/3 2,500/3",
            "Web search calls 7 10,000 70,000",
            "Sum 223,000/3",
            "Charge 74,334",
            "Service tier fast: tokens \u00d7 5/3",
        ):
            assert words in page, words
        refused = await pages.get("/admin/rates?model=gpt-image-2&tier=fast&input=1")
        assert refused.status_code == 400
        assert "has no factor for this tier" in refused.text


async def test_a_charge_shows_its_factors_and_whose_rates_it_has(admin: Admin, pool: Pool) -> None:
    await settle_dear(pool, await create_holder(pool, 10_000_000), "tb_dear")
    page = text_of((await admin.pages.see("/admin/requests/tb_dear")).text)
    for words in (
        "Input tokens 199,000 2 10/3 3,980,000/3",
        "Image tool: image output tokens ( gpt-image-2 ) 200 40 8,000",
        "Web search calls 7 10,000 70,000",
        "Rounded up 1/3",
        f"Charge {CHARGE:,}",
        "Service tier priority: tokens \u00d7 5/3",
        "Input above 272,000 tokens: input \u00d7 2, output \u00d7 1.5",
        "Service tier asked for fast",
        "Service tier of the response priority",
    ):
        assert words in page, words


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_searched_as_people_type_and_fits_a_phone(
    chromium: Browser, priced: People, priced_product: str, scheme: Literal["light", "dark"]
) -> None:
    async with WatchedBrowser.open(chromium, priced_product, color_scheme=scheme) as browser:
        page = browser.page
        await page.set_viewport_size({"width": 390, "height": 844})
        await browser.sign_in(await priced.create())
        await page.get_by_role("link", name="Models and prices").click()
        await expect(page.get_by_role("heading", name="Models and prices")).to_be_visible()
        rows = page.locator("#list tbody")
        await expect(rows).to_have_count(4)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        cell = page.get_by_role("cell", name="1,250.5").first
        assert await cell.evaluate("one => getComputedStyle(one).textAlign") == "end"
        await page.get_by_label("Model", exact=True).press_sequentially("image")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("gpt-image-*")
        await expect(page).to_have_url(re.compile("search=image"))
        browser.check()


async def test_it_is_searched_without_scripts(
    chromium: Browser, priced: People, priced_product: str
) -> None:
    async with WatchedBrowser.open(chromium, priced_product, java_script_enabled=False) as browser:
        page = browser.page
        await browser.sign_in(await priced.create())
        await page.goto(PATH)
        await page.get_by_label("Model", exact=True).fill("sol")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("#list tbody")).to_have_count(1)
        browser.check()

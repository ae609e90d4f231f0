"""Grants and allowances on the pages: one form for "20,000 every Monday"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.support.admin import entries_of, hidden

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_credits_that_end_are_granted_once_and_shown(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    fields = {
        "once": hidden(await admin.pages.see(here), "once"),
        "grant-amount": "2,000",
        "grant-until": "2099-12-31",
        "grant-note": "course",
    }
    for _ in range(2):
        response = await admin.pages.submit(f"{here}/grants", **fields)
        assert (response.status_code, response.headers["location"]) == (303, here)
    page = await admin.pages.see(here)
    assert "Credits granted. The change is in the ledger." in page.text
    assert "2100-01-01 00:00 UTC" in page.text
    email = admin.somebody.email
    assert (await entries_of(pool, holder.account_id))[1:] == [
        ("grant", 2000, 3000, email, "course")
    ]
    again = await admin.pages.submit(f"{here}/grants", **{**fields, "grant-amount": "5"})
    assert again.status_code == 400
    assert "was already submitted" in again.text


async def test_20000_every_monday_is_one_form(admin: Admin, pool: Pool, holder: Holder) -> None:
    here = f"/admin/users/{holder.user_id}"
    await pool.execute("UPDATE accounts SET time_zone = 'Asia/Tokyo'")
    fields = {"allowance-amount": "20,000", "allowance-every": "week"}
    response = await admin.pages.submit(f"{here}/allowances", **fields)
    assert response.status_code == 303
    (entry,) = (await entries_of(pool, holder.account_id))[1:]
    assert entry[:3] == ("grant", 20_000, 21_000)
    page = await admin.pages.see(here)
    removing = re.search(rf'action="({here}/allowances/\d+/remove)"', page.text)
    assert removing
    next_at = await pool.fetchval("SELECT next_at FROM allowances")
    there = next_at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert f"{there:%Y-%m-%d} 00:00 Asia/Tokyo" in page.text
    assert (await admin.pages.submit(removing[1])).status_code == 303
    assert "Allowance removed." in (await admin.pages.see(here)).text
    assert (await admin.pages.submit(removing[1])).status_code == 404


@pytest.mark.parametrize(
    ("form", "fields", "words"),
    [
        ("grants", {"grant-amount": "", "grant-note": "n"}, "Enter an amount."),
        ("grants", {"grant-amount": "0", "grant-note": "n", "once": "1"}, "at least 1 credit"),
        ("grants", {"grant-amount": "5"}, "This field is required."),
        ("allowances", {"allowance-amount": ""}, "Enter an amount."),
        ("allowances", {"allowance-amount": "0"}, "at least 1 credit"),
        ("allowances", {"allowance-amount": "5", "allowance-every": "x"}, "one of the choices"),
    ],
)
async def test_what_makes_no_sense_is_shown_at_its_field(
    admin: Admin, pool: Pool, holder: Holder, form: str, fields: dict[str, str], words: str
) -> None:
    here = f"/admin/users/{holder.user_id}"
    response = await admin.pages.submit(f"{here}/{form}", **fields)
    assert response.status_code == 400
    assert words in response.text
    assert len(await entries_of(pool, holder.account_id)) == 1


async def test_ones_own_page_says_what_ends_and_what_comes(admin: Admin, pool: Pool) -> None:
    user_id = await pool.fetchval("SELECT id FROM users WHERE email = $1", admin.somebody.email)
    assert "What ends, and what comes" not in (await admin.pages.see("/account")).text
    fields = {"allowance-amount": "7,777", "allowance-every": "day"}
    _ = await admin.pages.submit(f"/admin/users/{user_id}/allowances", **fields)
    page = await admin.pages.see("/account")
    assert "What ends, and what comes" in page.text
    assert page.text.count("7,777") >= 2

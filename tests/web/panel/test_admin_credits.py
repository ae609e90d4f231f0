"""Credits and refunds that superusers enter on the pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.admin import charge, entries_of, hidden
from tests.support.books import placed
from tests.support.rerates import USED, card, rerated
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import TOO_LARGE
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


async def test_credits_are_added_and_taken_with_a_reason(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    for amount, note in (("2,000", "for October"), ("-500", "a mistake")):
        page = await admin.pages.see(here)
        fields = {"once": hidden(page, "once"), "add-amount": amount, "add-note": note}
        response = await admin.pages.submit(f"{here}/credits", **fields)
        assert (response.status_code, response.headers["location"]) == (303, here)
    page = await admin.pages.see(here)
    assert "Balance updated. The change is in the ledger." in page.text
    email = admin.somebody.email
    assert (await entries_of(pool, holder.account_id))[1:] == [
        ("top-up", 2000, 3000, email, "for October"),
        ("adjustment", -500, 2500, email, "a mistake"),
    ]


async def test_credits_are_added_once_however_often_the_form_is_sent(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    page = await admin.pages.see(here)
    fields = {"once": hidden(page, "once"), "add-amount": "5", "add-note": "once"}
    responses = await asyncio.gather(
        *(admin.pages.submit(f"{here}/credits", **fields) for _ in range(5))
    )
    assert {response.status_code for response in responses} == {303}
    assert len(await entries_of(pool, holder.account_id)) == 2
    # Back in the browser, and another amount: nobody is told that this was entered.
    response = await admin.pages.submit(f"{here}/credits", **{**fields, "add-amount": "6"})
    assert response.status_code == 400
    assert "was already submitted" in response.text
    assert len(await entries_of(pool, holder.account_id)) == 2
    again = {**fields, "once": hidden(response, "once"), "add-amount": "6"}
    assert (await admin.pages.submit(f"{here}/credits", **again)).status_code == 303
    assert [entry[1] for entry in await entries_of(pool, holder.account_id)] == [1000, 5, 6]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"add-amount": ""}, "Enter an amount."),
        ({"add-amount": "0"}, "must not be 0"),
        ({"add-amount": "1e3"}, "whole number"),
        ({"add-amount": "-1001"}, "the lowest allowed is 0"),
        ({"add-amount": str(2**53)}, TOO_LARGE.replace("an", "An", 1)),
        ({"add-amount": "9" * 30}, TOO_LARGE.replace("an", "An", 1)),
        ({"add-note": ""}, "field is required"),
        ({"add-note": "a\0b"}, "control characters"),
        ({"add-note": "x" * 501}, "at most 500 characters"),
        ({"once": ""}, "idempotency key"),
        ({"once": "x" * 256}, "idempotency key"),
    ],
)
async def test_credits_that_cannot_be_added_are_told_at_their_field(
    admin: Admin, pool: Pool, holder: Holder, fields: dict[str, str], words: str
) -> None:
    sent = {"once": "a", "add-amount": "1", "add-note": "a reason", **fields}
    response = await admin.pages.submit(f"/admin/users/{holder.user_id}/credits", **sent)
    assert response.status_code == 400
    assert words in response.text
    assert len(await entries_of(pool, holder.account_id)) == 1


async def test_a_balance_is_set_by_the_difference(admin: Admin, pool: Pool, holder: Holder) -> None:
    here = f"/admin/users/{holder.user_id}"
    fields = {"set-balance": "400", "set-note": "new term"}
    assert (await admin.pages.submit(f"{here}/balance", **fields)).status_code == 303
    assert (await entries_of(pool, holder.account_id))[1:] == [
        ("set", -600, 400, admin.somebody.email, "new term")
    ]
    for wrong in ({"set-balance": "-1"}, {"set-balance": ""}, {"set-note": ""}):
        response = await admin.pages.submit(f"{here}/balance", **{**fields, **wrong})
        assert response.status_code == 400
    assert len(await entries_of(pool, holder.account_id)) == 2


async def test_what_requests_in_flight_hold_stays_and_the_page_says_so(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    _ = await placed(Book(pool), holder, "tb_held", 800)
    fields = {"set-balance": "0", "set-note": "the end"}
    assert (await admin.pages.submit(f"{here}/balance", **fields)).status_code == 303
    page = await admin.pages.see(here)
    assert (
        "Some credits stayed: requests in flight hold them, see the ledger. Set it again later."
        in page.text
    )
    assert "800 credits stayed, held by requests in flight" in page.text
    fields = {"once": hidden(page, "once"), "add-amount": "-1", "add-note": "more"}
    assert (await admin.pages.submit(f"{here}/credits", **fields)).status_code == 303
    page = await admin.pages.see(here)
    assert (
        "Some credits stayed: requests in flight hold them, see the ledger. Take them later."
        in page.text
    )
    assert "1 credit stayed" in (await admin.pages.see("/admin/ledger")).text
    assert [entry[:2] for entry in await entries_of(pool, holder.account_id)] == [
        *(("grant", 1000), ("set", -200), ("adjustment", 0))
    ]


async def test_an_overdraft_is_set_with_a_reason(admin: Admin, pool: Pool, holder: Holder) -> None:
    here = f"/admin/users/{holder.user_id}"
    _ = await placed(Book(pool), holder, "tb_held", 800)
    fields = {"overdraft": "5,000", "overdraft-note": "a good customer"}
    assert (await admin.pages.submit(f"{here}/overdraft", **fields)).status_code == 303
    page = await admin.pages.see(here)
    assert "Overdraft set. The change is in the ledger." in page.text
    assert "and an overdraft of 5,000 credits" in page.text
    assert '<span class="value">5,200</span>' in page.text
    note = "overdraft set from 0 to 5,000: a good customer"
    assert (await entries_of(pool, holder.account_id))[-1][4] == note

    _ = await placed(Book(pool), holder, "tb_more", 4000)
    for wrong, words in (
        ({"overdraft": "3,799"}, "The overdraft must be at least 3,800 credits"),
        ({"overdraft": "-1"}, "An overdraft must be 0 to"),
        ({"overdraft": ""}, "Enter an overdraft."),
        ({"overdraft-note": ""}, "This field is required."),
        ({"overdraft-note": "a\0b"}, "control characters"),
        ({"overdraft-note": "x" * 501}, "at most 500 characters"),
    ):
        response = await admin.pages.submit(f"{here}/overdraft", **{**fields, **wrong})
        assert (response.status_code, words in response.text) == (400, True)
    assert len(await entries_of(pool, holder.account_id)) == 2


async def test_a_charge_is_explained_and_refunded_once(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    await charge(pool, holder, "tb_1", Usage({"input": 60, "output": 40}, total=100))
    here = "/admin/requests/tb_1"
    page = await admin.pages.see(here)
    assert "has cost 100 credits so far." in page.text
    fields = {"once": hidden(page, "once"), "amount": "30", "note": "a bad answer"}
    responses = await asyncio.gather(
        *(admin.pages.submit(f"{here}/refund", **fields) for _ in range(5))
    )
    assert {(a.status_code, a.headers.get("location")) for a in responses} == {(303, here)}
    page = await admin.pages.see(here)
    assert "Refund added to the ledger." in page.text
    assert "has cost 70 credits so far." in page.text
    wrong = await admin.pages.submit(f"{here}/refund", **{**fields, "amount": "31"})
    assert "was already submitted" in wrong.text
    rest = {"once": hidden(page, "once"), "amount": "", "note": "all of it"}
    for _ in range(2):
        assert (await admin.pages.submit(f"{here}/refund", **rest)).status_code == 303
    email = admin.somebody.email
    assert (await entries_of(pool, holder.account_id))[2:] == [
        ("refund", 30, 930, email, "a bad answer"),
        ("refund", 70, 1000, email, "all of it"),
    ]
    assert "Refund…" not in (await admin.pages.see(here)).text


async def test_a_corrected_price_is_told_and_what_was_released_stays(
    admin: Admin, pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    await charge(pool, holder, "tb_1", USED)
    _ = await rerated(sessions, card("2", "2", model="*"))
    page = await admin.pages.see("/admin/requests/tb_1")
    assert f"and was charged {USED.total} credits; " in page.text
    assert f": it was charged {USED.total} before." in page.text
    assert f"it cost {2 * USED.total} credits." in page.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount": "101"}, "only 100 credits are left"),
        ({"amount": "0"}, "at least 1"),
        ({"amount": "x"}, "whole number"),
        ({"note": ""}, "field is required"),
        ({"note": "x" * 501}, "at most 500"),
        ({"once": ""}, "400"),
    ],
)
async def test_a_refund_that_cannot_be_is_told_at_its_field(
    admin: Admin, pool: Pool, holder: Holder, fields: dict[str, str], words: str
) -> None:
    await charge(pool, holder, "tb_1", Usage({"input": 60, "output": 40}, total=100))
    sent = {"once": "a", "amount": "1", "note": "a reason", **fields}
    response = await admin.pages.submit("/admin/requests/tb_1/refund", **sent)
    assert response.status_code == 400
    assert words.lower() in f"{response.text} 400".lower()
    assert len(await entries_of(pool, holder.account_id)) == 2

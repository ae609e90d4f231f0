"""One field leads to a request by its id: for superusers to any, for others to their own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.books import Holder, placed
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.people import People
    from tokenbalance.database.connections import Pool

FIRST, SECOND = "tb_019ab3f0c2d1aa", "tb_019ab3f0c2d1ab"


@pytest.fixture
async def found(pool: Pool, holder: Holder) -> Holder:
    for request_id in (FIRST, SECOND):
        _ = await placed(Book(pool), holder, request_id, 10)
    return holder


@pytest.mark.usefixtures("found")
async def test_an_id_or_its_beginning_leads_to_the_explanation(admin: Admin) -> None:
    for page in ("/admin", "/admin/requests"):
        form = (await admin.pages.see(page)).text
        assert '<form method="get" action="/admin/requests" class="filters find"' in form
        assert 'name="id"' in form
    for typed in (FIRST, f" {FIRST} "):
        response = await admin.pages.get(f"/admin/requests?id={quote(typed)}")
        assert response.status_code == 303
        assert response.headers["location"] == f"/admin/requests/{FIRST}"
    assert FIRST in (await admin.pages.see(f"/admin/requests/{FIRST}")).text


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("tb_ffff", "No request has the id &#39;tb_ffff&#39;."),
        (FIRST[:-1], "Several requests begin with"),
        ("<script>", "A request id is tb_ and up to 32"),
        ("tb_" + "0" * 500, "A request id is tb_ and up to 32"),
        ("\0", "A request id is tb_ and up to 32"),
    ],
)
@pytest.mark.usefixtures("found")
async def test_what_is_not_found_is_told_at_the_field_above_the_list(
    admin: Admin, typed: str, words: str
) -> None:
    response = await admin.pages.get(f"/admin/requests?id={quote(typed)}")
    assert response.status_code == 404
    assert f'<p class="error" id="e-id">{words}' in response.text
    assert "<script>" not in response.text.partition("<main")[2]
    assert f"/admin/requests/{SECOND}" in response.text


@pytest.mark.usefixtures("found")
async def test_an_empty_field_finds_nothing_and_complains_of_nothing(admin: Admin) -> None:
    page = (await admin.pages.see("/admin/requests?id=")).text
    assert "e-id" not in page
    assert f"/admin/requests/{SECOND}" in page


async def test_others_find_only_their_own(pool: Pool, people: People, found: Holder) -> None:
    somebody = await people.create(balance=100)
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256) VALUES ($1, '', sha256(''))"
        " RETURNING id",
        somebody.account_id,
    )
    own = Holder(somebody.user_id, somebody.account_id, key_id, "")
    _ = await placed(Book(pool), own, f"{FIRST}0", 10)
    assert found.account_id != own.account_id
    async with people.signed_in(somebody) as pages:
        page = await pages.see("/account/requests")
        assert 'action="/account/requests" class="filters find"' in page.text
        response = await pages.get("/account/requests?id=tb_0")
        assert response.status_code == 303
        assert response.headers["location"] == f"/account/requests/{FIRST}0"
        for typed, words in ((SECOND, "No request has the id"), ("x", "A request id is tb_")):
            response = await pages.get(f"/account/requests?id={typed}")
            assert response.status_code == 404
            assert f'<p class="error" id="e-id">{words}' in response.text

"""What superusers do on their pages, and what becomes of it in the books."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder, placed
from tests.support.people import PASSWORD
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.support.books import Holder
    from tests.support.people import Pages, People, Somebody
    from tokenbalance.database.connections import Pool

HOSTILE = "<script>alert('1')</script> \" ' & {{ 7 * 7 }} \u202e"
MINUS = "\N{MINUS SIGN}"
SECRET = re.compile(r"sk-tb-[\w-]{43}")


@dataclass(frozen=True, slots=True)
class Admin:
    """A superuser at work."""

    somebody: Somebody
    pages: Pages


@pytest.fixture
async def admin(people: People) -> AsyncIterator[Admin]:
    somebody = await people.create(is_superuser=True)
    async with people.signed_in(somebody) as pages:
        yield Admin(somebody, pages)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def entries_of(pool: Pool, account_id: int) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT kind, amount, balance_after, actor, note FROM ledger_entries"
        " WHERE account_id = $1 ORDER BY id",
        account_id,
    )
    return [tuple(row) for row in rows]


async def charge(pool: Pool, holder: Holder, request_id: str, usage: Usage) -> None:
    """Let a request be charged."""
    book = Book(pool, 60)
    hold = await placed(book, holder, request_id, 100)
    await book.settle(hold, usage)


def hidden(response: httpx2.Response, name: str) -> str:
    """What a form carries without showing it."""
    found = re.search(rf'name="{name}" value="([^"]*)"', response.text)
    assert found is not None
    return found.group(1)


def links_of(response: httpx2.Response, words: str) -> list[str]:
    """Where links with these words lead."""
    return [
        unescape(link)
        for link in re.findall(rf'<a[^>]*href="([^"]*)"[^>]*>{words}<', response.text)
    ]


async def shown(pages: Pages, made: httpx2.Response) -> tuple[httpx2.Response, str]:
    """The page that a form leads to which makes a secret, and the secret."""
    assert made.status_code == 303, made.text
    assert not SECRET.search(made.headers["location"] + made.text)
    page = await pages.see(made.headers["location"])
    assert page.headers["cache-control"] == "no-store"
    (secret,) = set(SECRET.findall(page.text))
    return page, secret


# --- overview


async def test_the_overview_adds_everything_up(admin: Admin, pool: Pool, holder: Holder) -> None:
    await charge(pool, holder, "tb_1", Usage(input=60, cached_input=20, output=90, total=150))
    await charge(pool, holder, "tb_2", Usage(input=10, output=5, total=15, estimated=True))
    await placed(Book(pool, 60), holder, "tb_3", 35)
    page = (await admin.pages.see("/admin")).text
    for figure in (835, 800, 35, 165):
        assert f'<span class="value">{figure}</span>' in page
    assert "50 credits beyond their holds" in page
    assert first_holder(page) == f"/admin/users/{holder.user_id}"
    for name in ("input", "cached input", "output"):
        assert f"<bdi>{name}</bdi>" in page


def first_holder(page: str) -> str:
    found = re.search(r'href="(/admin/users/\d+)"[^>]*><bdi>holder', page)
    assert found is not None
    return found.group(1)


async def test_every_page_says_so_where_there_is_nothing_yet(admin: Admin) -> None:
    for path in ("", "/users", "/users/new", "/keys", "/ledger", "/requests", "/rates", "/books"):
        page = await admin.pages.see(f"/admin{path}")
        assert admin.somebody.email in page.text
        assert page.headers["cache-control"] == "no-store"
        assert "unsafe" not in page.headers["content-security-policy"]


# --- users


async def test_a_user_is_made_with_balance_and_key_in_one_step(
    admin: Admin, pool: Pool, http: httpx2.AsyncClient
) -> None:
    response = await admin.pages.submit(
        "/admin/users/new",
        email="New@Example.com",
        name="New",
        password="a new password",
        balance="1,000",
        key="yes",
        **{"key-name": "laptop", "key-expires": "2099-12-31"},
    )
    page, secret = await shown(admin.pages, response)
    assert "The user is created." in page.text
    balance = await http.get("/api/balance", headers={"authorization": f"Bearer {secret}"})
    assert balance.json()["available"] == 1000
    user_id, account_id = await pool.fetchrow(
        "SELECT u.id, a.id FROM users u JOIN accounts a ON a.user_id = u.id"
        " WHERE u.email = 'New@Example.com' AND NOT is_superuser"
    ) or (0, 0)
    assert await entries_of(pool, account_id) == [
        ("grant", 1000, 1000, admin.somebody.email, "opening balance")
    ]
    page = await admin.pages.see(f"/admin/users/{user_id}")
    assert "laptop" in page.text
    assert "2100-01-01 00:00 UTC" in page.text
    assert not SECRET.search(page.text)


async def test_a_user_is_made_without_anything_but_an_e_mail(admin: Admin, pool: Pool) -> None:
    response = await admin.pages.submit("/admin/users/new", email="bare@example.com")
    assert response.status_code == 303
    page = await admin.pages.see(response.headers["location"])
    assert "The user is created." in page.text
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE kind = 'key'") == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": ""}, "must not be empty"),
        ({"email": "nobody"}, "exactly one &#39;@&#39;"),
        ({"email": "a b@example.com"}, "no spaces"),
        ({"email": "PERSON1@example.com"}, "exists already"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"name": "a\0b"}, "control characters"),
        ({"password": "four"}, "at least 5 characters"),
        ({"balance": "-1"}, "at least 0"),
        ({"balance": "1.5"}, "whole number"),
        ({"balance": str(2**53)}, "at most"),
        ({"balance": str(2**70)}, "at most"),
        ({"key-name": "x" * 201}, "at most 200 characters"),
        ({"key-expires": "2020-01-01"}, "today or a later day"),
        ({"key-expires": "tomorrow"}, "must be a day"),
    ],
)
async def test_a_user_who_cannot_be_made_leaves_nothing(
    admin: Admin, pool: Pool, fields: dict[str, str], words: str
) -> None:
    wanted = {"email": "new@example.com", "name": "Kept", "balance": "5", "key": "yes", **fields}
    response = await admin.pages.submit("/admin/users/new", **wanted)
    assert response.status_code == 400
    assert words in response.text
    assert "Nothing was changed" in response.text
    assert wanted["name"] != "Kept" or 'value="Kept"' in response.text
    assert "four" not in response.text
    assert await pool.fetchval("SELECT count(*) FROM users") == 1
    assert await pool.fetchval("SELECT count(*) FROM ledger_entries") == 0


async def test_users_are_found_by_a_part_of_e_mail_or_name(admin: Admin, people: People) -> None:
    ada = await people.create(name="Ada Lovelace", balance=12345)
    await people.create(name="100% Somebody_Else")
    page = await admin.pages.see("/admin/users?search=LOVE")
    assert f"/admin/users/{ada.user_id}" in page.text
    assert "12,345" in page.text
    assert "Somebody_Else" not in page.text
    assert "Somebody_Else" in (await admin.pages.see("/admin/users?search=100%25")).text
    assert "Nobody has this" in (await admin.pages.see("/admin/users?search=a%25e")).text
    assert "Nobody has this" in (await admin.pages.see("/admin/users?search=%27--")).text


async def test_lists_of_users_keys_entries_and_requests_have_pages(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    await pool.execute(
        "INSERT INTO users (email)"
        " SELECT 'many' || n || '@example.com' FROM generate_series(1, 250) n"
    )
    await pool.execute("INSERT INTO accounts (user_id) SELECT id FROM users WHERE email ~ '^many'")
    await pool.execute(
        "INSERT INTO api_keys (account_id, name, prefix, secret_sha256)"
        " SELECT $1, 'many' || n, 'tb-', sha256(n::text::bytea) FROM generate_series(1, 250) n",
        holder.account_id,
    )
    await pool.execute(
        "INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor, note)"
        " SELECT $1, 'top-up', 1, 1000 + n, 'tests', 'many' || n FROM generate_series(1, 250) n",
        holder.account_id,
    )
    await pool.execute(
        "INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model, created_at)"
        " SELECT $1, 'tb_' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n), 12, '0')"
        " || '0000', $2, 1, '/chat/completions', 'many' || n, now() FROM generate_series(1, 250) n",
        holder.account_id,
        holder.key_id,
    )
    for path, words in (
        ("/admin/users?search=many", "More"),
        ("/admin/keys?search=many", "Older"),
        ("/admin/ledger?kind=top-up", "Older"),
        ("/admin/requests?state=open", "Older"),
    ):
        seen = await everything(admin.pages, path, words)
        assert len(seen) == 250, path
        assert len(set(seen)) == 250, path


async def everything(pages: Pages, path: str, words: str) -> list[str]:
    """Follow a list to its end."""
    seen: list[str] = []
    for _ in range(6):
        page = await pages.see(path)
        # A row may name what it is about again, in the question that its button asks.
        seen += dict.fromkeys(re.findall(r"<bdi>(many\d+(?:@example.com)?)</bdi>", page.text))
        following = links_of(page, words)
        if not following:
            return seen
        (path,) = following
    msg = "the list has no end"
    raise AssertionError(msg)


async def test_names_that_people_chose_are_never_markup(
    admin: Admin, people: People, pool: Pool
) -> None:
    evil = await people.create(name=HOSTILE[:-1].strip())
    await pool.execute(
        "UPDATE users SET name = $1, email = $2 WHERE id = $3",
        HOSTILE,
        f"{HOSTILE}@example.com",
        evil.user_id,
    )
    await pool.execute(
        "INSERT INTO api_keys (account_id, name, prefix, secret_sha256)"
        " VALUES ($1, $2, $2, sha256('secret'))",
        evil.account_id,
        HOSTILE,
    )
    await pool.execute(
        "INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model)"
        " SELECT account_id, 'tb_' || $1, id, 1, $1, $1 FROM api_keys WHERE name = $1",
        HOSTILE,
    )
    await pool.execute(
        "INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor, note)"
        " VALUES ($1, 'grant', 1, 1, $2, $2)",
        evil.account_id,
        HOSTILE,
    )
    paths = ["/admin/users", "/admin/keys", "/admin/ledger", "/admin/requests", "/admin"]
    for path in (*paths, f"/admin/users/{evil.user_id}"):
        page = (await admin.pages.see(path)).text
        assert "<script>alert" not in page
        if path != "/admin":
            assert "&lt;script&gt;alert(&#39;1&#39;)" in page, path
    response = await admin.pages.get(
        "/admin/users", params={"search": '"><script>alert(1)</script>'}
    )
    assert "<script>alert" not in response.text


# --- balances


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
    assert "The credits are entered in the ledger." in page.text
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
    assert "was sent before" in response.text
    assert len(await entries_of(pool, holder.account_id)) == 2
    again = {**fields, "once": hidden(response, "once"), "add-amount": "6"}
    assert (await admin.pages.submit(f"{here}/credits", **again)).status_code == 303
    assert [entry[1] for entry in await entries_of(pool, holder.account_id)] == [1000, 5, 6]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"add-amount": ""}, "Say how many credits."),
        ({"add-amount": "0"}, "changes nothing"),
        ({"add-amount": "1e3"}, "whole number"),
        ({"add-amount": "-1001"}, "the lowest allowed is 0"),
        ({"add-amount": str(2**53)}, "at most"),
        ({"add-note": ""}, "must not be empty"),
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


# --- standing


async def test_a_disabled_user_is_refused_until_enabled(
    admin: Admin, people: People, http: httpx2.AsyncClient, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    for action, status in (("disable", 401), ("enable", 200)):
        response = await admin.pages.submit(f"{here}/{action}")
        assert (response.status_code, response.headers["location"]) == (303, here)
        assert (await http.get("/api/balance", headers=holder.headers)).status_code == status
    somebody = await people.create()
    async with people.signed_in(somebody) as pages:
        await admin.pages.submit(f"/admin/users/{somebody.user_id}/disable")
        assert (await pages.get("/account")).status_code == 303


async def test_superusers_are_made_and_unmade_but_for_the_last(
    admin: Admin, people: People
) -> None:
    other = await people.create()
    there, here = (f"/admin/users/{who.user_id}" for who in (other, admin.somebody))
    async with people.signed_in(other) as pages:
        assert (await pages.get("/admin")).status_code == 403
        await admin.pages.submit(f"{there}/promote")
        assert (await pages.get("/admin")).status_code == 200
        await admin.pages.submit(f"{there}/demote")
        assert (await pages.get("/admin")).status_code == 403
    for action in ("demote", "disable"):
        response = await admin.pages.submit(f"{here}/{action}")
        assert response.status_code == 400
        assert "is the last superuser" in response.text
        assert "Nothing was changed" in response.text
        assert "another look" not in response.text
    assert (await admin.pages.get("/admin")).status_code == 200


async def test_a_new_password_ends_the_sign_ins_of_before(admin: Admin, people: People) -> None:
    other = await people.create()
    here = f"/admin/users/{other.user_id}/password"
    async with people.signed_in(other) as pages:
        assert (await admin.pages.submit(here, password="four")).status_code == 400
        assert (await pages.get("/account")).status_code == 200
        response = await admin.pages.submit(here, password="another password")
        assert response.status_code == 303
        assert (await pages.get("/account")).status_code == 303
        await pages.see("/sign-in")
        old = await pages.submit("/sign-in", email=other.email, password=PASSWORD)
        new = await pages.submit("/sign-in", email=other.email, password="another password")
        assert (old.status_code, new.status_code) == (400, 303)


async def test_ones_own_new_password_leaves_one_signed_in_here(
    admin: Admin, people: People
) -> None:
    async with people.signed_in(admin.somebody) as elsewhere:
        here = f"/admin/users/{admin.somebody.user_id}/password"
        await admin.pages.submit(here, password="another password")
        assert (await admin.pages.get("/admin")).status_code == 200
        assert (await elsewhere.get("/admin")).status_code == 303


async def test_a_user_is_renamed(admin: Admin, people: People) -> None:
    other = await people.create(name="Before")
    here = f"/admin/users/{other.user_id}"
    await admin.pages.submit(f"{here}/name", **{"user-name": "  Ada Lovelace "})
    assert "Ada Lovelace" in (await admin.pages.see(here)).text
    response = await admin.pages.submit(f"{here}/name", **{"user-name": "a\0b"})
    assert response.status_code == 400


# --- keys


async def test_keys_are_made_given_a_new_secret_and_revoked(
    admin: Admin, holder: Holder, http: httpx2.AsyncClient
) -> None:
    here = f"/admin/users/{holder.user_id}/keys"

    async def status_of(secret: str) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        return (await http.get("/api/balance", headers=headers)).status_code

    made = await admin.pages.submit(
        here, name="robot", requests_per_minute="5", insufficient_status="402"
    )
    _, first = await shown(admin.pages, made)
    key_id = made.headers["location"].split("/")[-2]
    page = await admin.pages.see(f"/admin/users/{holder.user_id}")
    assert f"/keys/{key_id}/rotate" in page.text
    assert "5 requests a minute, answers 402 when the balance is too low" in page.text
    rotated = await admin.pages.submit(f"{here}/{key_id}/rotate")
    _, second = await shown(admin.pages, rotated)
    assert [await status_of(secret) for secret in (first, second)] == [401, 200]
    revoked = await admin.pages.submit(f"{here}/{key_id}/revoke")
    assert revoked.headers["location"] == f"/admin/users/{holder.user_id}"
    assert await status_of(second) == 401
    assert (await admin.pages.submit(f"{here}/{key_id}/rotate")).status_code == 404


async def test_reloading_a_secret_shows_it_no_more_and_makes_nothing(
    admin: Admin, holder: Holder, pool: Pool
) -> None:
    keys = f"/admin/users/{holder.user_id}/keys"
    new_user = {"email": "new@example.com", "key": "yes"}
    for path, fields in (
        (keys, {}),
        (f"{keys}/{holder.key_id}/rotate", {}),
        ("/admin/users/new", new_user),
    ):
        made = await admin.pages.submit(path, **fields)
        before = await pool.fetch("SELECT id, secret_sha256, revoked_at FROM api_keys ORDER BY id")
        await shown(admin.pages, made)
        for _ in range(2):
            again = await admin.pages.see(made.headers["location"])
            assert not SECRET.search(again.text)
            assert "was shown once" in again.text
            assert made.headers["location"].replace("/secret", "/rotate") in again.text
        after = await pool.fetch("SELECT id, secret_sha256, revoked_at FROM api_keys ORDER BY id")
        assert after == before
    other = await create_holder(pool)
    for user_id, key_id in ((other.user_id, holder.key_id), (holder.user_id, other.key_id)):
        path = f"/admin/users/{user_id}/keys/{key_id}/secret"
        assert (await admin.pages.get(path)).status_code == 404


async def test_a_key_is_changed_on_its_owners_page_alone(
    admin: Admin, holder: Holder, pool: Pool, http: httpx2.AsyncClient
) -> None:
    other = await create_holder(pool)
    for action in ("rotate", "revoke"):
        path = f"/admin/users/{other.user_id}/keys/{holder.key_id}/{action}"
        assert (await admin.pages.submit(path)).status_code == 404
    assert (await http.get("/api/balance", headers=holder.headers)).status_code == 200


async def test_keys_are_found_by_prefix_name_owner_and_state(
    admin: Admin, holder: Holder, pool: Pool
) -> None:
    await pool.execute(
        "INSERT INTO api_keys (account_id, name, prefix, secret_sha256, expires_at, revoked_at)"
        " VALUES ($1, 'old robot', 'tb-abcdef', sha256('a'), now() - interval '1 day', NULL),"
        " ($1, 'gone robot', 'tb-ghijkl', sha256('b'), NULL, now())",
        holder.account_id,
    )

    async def found(query: str) -> set[str]:
        page = await admin.pages.see(f"/admin/keys?{query}")
        return set(re.findall(r"<code>((?:sk-)?tb-[\w-]+)…</code>", page.text))

    mine = (await pool.fetchval("SELECT prefix FROM api_keys WHERE id = $1", holder.key_id)) or ""
    everyone = {mine, "tb-abcdef", "tb-ghijkl"}
    assert await found("") == await found("search=holder") == everyone
    assert await found("search=ABCDEF") == {"tb-abcdef"}
    assert await found("search=gone") == {"tb-ghijkl"}
    assert await found("state=active") == {mine}
    assert (
        await found("state=expired") == await found("state=expired&search=robot") == {"tb-abcdef"}
    )
    assert await found("state=revoked") == {"tb-ghijkl"}
    # Whoever is signed in has a token, which is no key.
    assert await found(f"search={admin.somebody.email}") == set()
    assert (await admin.pages.get("/admin/keys?state=lost")).status_code == 400


async def test_a_key_is_revoked_in_the_list_of_all(
    admin: Admin, holder: Holder, http: httpx2.AsyncClient
) -> None:
    response = await admin.pages.submit(f"/admin/keys/{holder.key_id}/revoke")
    assert response.headers["location"] == "/admin/keys"
    assert (await http.get("/api/balance", headers=holder.headers)).status_code == 401


# --- ledger and requests


async def test_entries_are_filtered_and_downloaded(
    admin: Admin, pool: Pool, holder: Holder, people: People
) -> None:
    other = await people.create(balance=77)
    await charge(pool, holder, "tb_1", Usage(input=60, output=40, total=100))
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)

    async def amounts(query: str) -> list[str]:
        page = await admin.pages.see(f"/admin/ledger?{query}")
        return re.findall(f'<td class="amount">([+{MINUS}][\\d,]+)</td>', page.text)

    assert await amounts("") == [f"{MINUS}100", "+77", "+1,000"]
    assert await amounts(f"user={email.upper()}") == [f"{MINUS}100", "+1,000"]
    assert await amounts("kind=charge") == [f"{MINUS}100"]
    assert await amounts("since=2020-01-01&until=2099-01-01&kind=grant") == ["+77", "+1,000"]
    assert await amounts("until=2020-01-01") == []
    assert "No user has this e-mail." in (await admin.pages.get("/admin/ledger?user=x@y")).text
    file = await admin.pages.get(f"/admin/ledger.csv?user={other.email}")
    assert file.headers["content-type"].startswith("text/csv")
    assert file.text.splitlines()[0].startswith("id,created_at,user,kind,amount")
    assert len(file.text.splitlines()) == 2
    assert len((await admin.pages.get("/admin/ledger.csv")).text.splitlines()) == 4


async def test_requests_are_filtered_and_downloaded(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    await charge(pool, holder, "tb_1", Usage(input=60, output=40, total=100))
    await charge(pool, holder, "tb_2", Usage(input=60, output=90, total=150))
    await charge(pool, holder, "tb_3", Usage(input=1, output=1, total=2, estimated=True))
    await placed(Book(pool, 60), holder, "tb_4", 10)

    async def found(query: str) -> list[str]:
        page = await admin.pages.see(f"/admin/requests?{query}")
        return re.findall(r'<a href="/admin/requests/(tb_\d)">', page.text)

    assert await found("") == ["tb_4", "tb_3", "tb_2", "tb_1"]
    assert await found("state=open") == ["tb_4"]
    assert await found("only=estimated") == ["tb_3"]
    assert await found("only=overrun") == ["tb_2"]
    assert await found("model=gpt-4o-mini&state=settled") == ["tb_3", "tb_2", "tb_1"]
    assert await found("model=gpt-4o") == []
    assert (await admin.pages.get("/admin/requests?only=lost")).status_code == 400
    file = await admin.pages.get("/admin/requests.csv")
    assert 'filename="tokenbalance-usage-' in file.headers["content-disposition"]
    assert len(file.text.splitlines()) == 4


# --- one request


async def test_a_charge_is_explained_and_refunded_once(
    admin: Admin, pool: Pool, holder: Holder
) -> None:
    await charge(pool, holder, "tb_1", Usage(input=60, output=40, total=100))
    here = "/admin/requests/tb_1"
    page = await admin.pages.see(here)
    assert "It has cost 100 credits until now." in page.text
    fields = {"once": hidden(page, "once"), "amount": "30", "note": "a bad answer"}
    responses = await asyncio.gather(
        *(admin.pages.submit(f"{here}/refund", **fields) for _ in range(5))
    )
    assert {(a.status_code, a.headers.get("location")) for a in responses} == {(303, here)}
    page = await admin.pages.see(here)
    assert "The refund is entered in the ledger." in page.text
    assert "It has cost 70 credits until now." in page.text
    wrong = await admin.pages.submit(f"{here}/refund", **{**fields, "amount": "31"})
    assert "was sent before" in wrong.text
    rest = {"once": hidden(page, "once"), "amount": "", "note": "all of it"}
    for _ in range(2):
        assert (await admin.pages.submit(f"{here}/refund", **rest)).status_code == 303
    email = admin.somebody.email
    assert (await entries_of(pool, holder.account_id))[2:] == [
        ("refund", 30, 930, email, "a bad answer"),
        ("refund", 70, 1000, email, "all of it"),
    ]
    assert "Refund…" not in (await admin.pages.see(here)).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount": "101"}, "only 100 credits are left"),
        ({"amount": "0"}, "at least 1"),
        ({"amount": "x"}, "whole number"),
        ({"note": ""}, "must not be empty"),
        ({"note": "x" * 501}, "at most 500"),
        ({"once": ""}, "400"),
    ],
)
async def test_a_refund_that_cannot_be_is_told_at_its_field(
    admin: Admin, pool: Pool, holder: Holder, fields: dict[str, str], words: str
) -> None:
    await charge(pool, holder, "tb_1", Usage(input=60, output=40, total=100))
    sent = {"once": "a", "amount": "1", "note": "a reason", **fields}
    response = await admin.pages.submit("/admin/requests/tb_1/refund", **sent)
    assert response.status_code == 400
    assert words.lower() in f"{response.text} 400".lower()
    assert len(await entries_of(pool, holder.account_id)) == 2

"""The overview and the lists of users, keys, entries and requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.admin import MINUS, charge, links_of
from tests.support.books import placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

HOSTILE = "<script>alert('1')</script> \" ' & {{ 7 * 7 }} \u202e"


async def test_the_overview_adds_everything_up(admin: Admin, pool: Pool, holder: Holder) -> None:
    await charge(
        pool, holder, "tb_1", Usage({"input": 60, "cached_input": 20, "output": 90}, total=150)
    )
    await charge(pool, holder, "tb_2", Usage({"input": 10, "output": 5}, total=15, estimated=True))
    await placed(Book(pool, 60), holder, "tb_3", 35)
    page = (await admin.pages.see("/admin")).text
    for figure in (835, 800, 35, 165):
        assert f'<span class="value">{figure}</span>' in page
    assert "50 credits beyond their holds" in page
    assert first_holder(page) == f"/admin/users/{holder.user_id}"
    for name in ("Input tokens", "Cached input tokens", "Output tokens"):
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
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor, note)"
        " SELECT $1, 'top-up', 1, 1000 + n, 'tests', 'many' || n FROM generate_series(1, 250) n",
        holder.account_id,
    )
    await pool.execute(
        "INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, model)"
        " SELECT $1, 'tb_' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n), 12, '0')"
        " || '0000', $2, 1, '/chat/completions', 'many' || n FROM generate_series(1, 250) n",
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
        "INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, model)"
        " SELECT account_id, 'tb_' || $1, id, 1, $1, $1 FROM api_keys WHERE name = $1",
        HOSTILE,
    )
    await pool.execute(
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor, note)"
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


async def test_entries_are_filtered_and_downloaded(
    admin: Admin, pool: Pool, holder: Holder, people: People
) -> None:
    other = await people.create(balance=77)
    await charge(pool, holder, "tb_1", Usage({"input": 60, "output": 40}, total=100))
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
    await charge(pool, holder, "tb_1", Usage({"input": 60, "output": 40}, total=100))
    await charge(pool, holder, "tb_2", Usage({"input": 60, "output": 90}, total=150))
    await charge(pool, holder, "tb_3", Usage({"input": 1, "output": 1}, total=2, estimated=True))
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

"""One's own page: what it shows of whom, what it takes, and what it never shows."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.chat import CHAT
from tests.support.people import NEW_KEY, PASSWORD
from tests.support.upstream import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx2

    from tests.support.people import Pages, People, Somebody
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SECRET = re.compile(r'<code id="secret">(sk-tb-[\w-]{43})</code>')
HOSTILE = "<script>alert('1')</script>\" onload=x &amp; \u05e9\u05dc\u05d5\u05dd {{ 7*7 }}"


async def make_key(pages: Pages, **fields: str) -> str:
    """Create a key by its form; gives the secret."""
    return secret_on(await pages.see(await led_to(pages, "/account/keys", **NEW_KEY, **fields)))


async def led_to(pages: Pages, path: str, **fields: str) -> str:
    """Send a form that makes a secret; gives where it leads."""
    response = await pages.submit(path, **fields)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def secret_on(page: httpx2.Response) -> str:
    found = SECRET.search(page.text)
    assert found
    return found.group(1)


async def keys_of(pool: Pool) -> Sequence[object]:
    """Everything that is kept of keys."""
    # Being seen is noted, at most once a minute.
    return await pool.fetch(
        "SELECT to_jsonb(k) - 'last_used_at' FROM api_keys k WHERE kind = 'key' ORDER BY id"
    )


async def chat(http: httpx2.AsyncClient, secret: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {secret}"}
    return await http.post("/v1/chat/completions", json=CHAT, headers=headers)


async def requests_of(pool: Pool, somebody: Somebody) -> list[str]:
    rows = await pool.fetch(
        "SELECT request_id FROM ledger WHERE account_id = $1 AND state IS NOT NULL"
        " ORDER BY request_id",
        somebody.account_id,
    )
    return [row["request_id"] for row in rows]


async def test_what_people_typed_is_shown_as_they_typed_it(people: People) -> None:
    async with people.signed_in(await people.create(name=HOSTILE)) as pages:
        await make_key(pages, name=HOSTILE, models="<b>*")
        for path in ("/account", "/account/keys", "/account/profile"):
            text = (await pages.see(path)).text
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34; onload=x &amp;amp;" in text
            assert "{{ 7*7 }}" in text
            assert '"models": ' not in text
        assert "&lt;b&gt;*" in (await pages.see("/account/keys")).text


async def test_a_secret_is_shown_once(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        secret = await make_key(pages, name="mine")
        for path in ("/account", "/account/keys", "/account/requests", "/account/ledger"):
            assert secret not in (await pages.see(path)).text
        renewed_at = await pool.fetchval("SELECT id FROM api_keys WHERE kind = 'key'")
        response = await pages.see(await led_to(pages, f"/account/keys/{renewed_at}/rotate"))
        assert response.headers["cache-control"] == "no-store"
        assert secret_on(response) != secret


async def test_reloading_a_secret_shows_it_no_more_and_makes_nothing(
    people: People, pool: Pool, http: httpx2.AsyncClient
) -> None:
    async with people.signed_in(await people.create(balance=10_000)) as pages:
        path = "/account/keys"
        for said in ("Key created.", "New secret created."):
            shown_at = await led_to(pages, path, name="mine", **NEW_KEY)
            before = await keys_of(pool)
            page = await pages.see(shown_at)
            secret = secret_on(page)
            assert said in page.text
            for _ in range(2):
                page = await pages.see(shown_at)
                assert not SECRET.search(page.text)
                assert secret not in page.text
                assert "was shown once" in page.text
            assert await keys_of(pool) == before
            assert (await chat(http, secret)).status_code == 200
            # What is said instead leads to a new one.
            path = shown_at.removesuffix("/secret") + "/rotate"
            assert f'action="{path}"' in page.text
        assert len(before) == 1
        await pages.submit(path.replace("rotate", "revoke"))
        page = await pages.see(shown_at)
        assert "The key was revoked or has expired." in page.text
        assert path not in page.text


async def test_a_secret_is_kept_by_the_browser_alone_until_it_is_shown(
    people: People, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with people.signed_in(await people.create()) as pages:
        made = await pages.submit("/account/keys", **NEW_KEY)
        assert made.headers["cache-control"] == "no-store"
        shown_at = made.headers["location"]
        assert re.fullmatch(r"/account/keys/\d+/secret", shown_at)
        page = await pages.see(shown_at)
    secret = secret_on(page)
    assert secret not in shown_at + made.text
    (cookie,) = cookies_of(made, "tokenbalance-new-key")
    value, *attributes = cookie.split("; ")
    assert value == f"tokenbalance-new-key={shown_at.split('/')[3]}:{secret}"
    assert sorted(each.lower() for each in attributes) == [
        "httponly",
        "max-age=120",
        "path=/",
        "samesite=lax",
    ]
    (cleared,) = cookies_of(page, "tokenbalance-new-key")
    assert "max-age=0" in cleared.lower()
    assert secret not in cleared
    assert "tokenbalance-new-key" not in pages.cookies
    assert secret not in str(await keys_of(pool))
    # The client of this test says what it is sent; the product must not.
    assert caplog.records
    said = [each.getMessage() for each in caplog.records if not each.name.startswith("http")]
    assert secret not in "".join(said)


def cookies_of(response: httpx2.Response, name: str) -> list[str]:
    return [each for each in response.headers.get_list("set-cookie") if each.startswith(f"{name}=")]


async def test_a_secret_is_shown_with_its_own_key_alone(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        first = await led_to(pages, "/account/keys", **NEW_KEY)
        cookie = pages.cookies["tokenbalance-new-key"]
        key_id, _, secret = cookie.partition(":")
        second = await led_to(pages, "/account/keys", **NEW_KEY)
        # The browser has kept the second's by now, and goes on keeping it for its own page.
        assert "was shown once" in (await pages.see(first)).text
        forged = f"{key_id}:sk-tb-{'x' * 43}"
        for kept in (forged, f"{key_id}:", key_id, secret, f":{secret}", f"0{cookie}", "\xff:\xff"):
            header = f"tokenbalance={pages.cookies['tokenbalance']}; tokenbalance-new-key={kept}"
            page = await pages.get(first, headers={b"cookie": header.encode("latin-1")})
            assert page.status_code == 200, kept
            assert "was shown once" in page.text, kept
        assert secret_on(await pages.see(second)) != secret
        session_id = await pool.fetchval("SELECT id FROM api_keys WHERE kind = 'sign-in'")
        for nobodys in (session_id, 987654321, 2**63, "x"):
            assert (await pages.get(f"/account/keys/{nobodys}/secret")).status_code == 404
    async with people.signed_in(await people.create(is_superuser=True)) as other:
        # Not even with the cookie.
        other.cookies.set("tokenbalance-new-key", cookie)
        page = await other.get(first)
        assert page.status_code == 404
        assert secret not in page.text


async def test_snippets_name_this_server_as_its_visitors_do(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        headers = {"host": "ai.example.org", "x-forwarded-proto": "https"}
        cookie = f"__Host-tokenbalance={pages.cookies['tokenbalance']}"
        made = await pages.post(
            "/account/keys",
            data={"form-token": pages.token, **NEW_KEY},
            headers={**headers, "cookie": cookie},
        )
        assert made.status_code == 303
        (kept,) = cookies_of(made, "__Host-tokenbalance-new-key")
        value, *attributes = kept.split("; ")
        assert "Secure" in attributes
        assert "Path=/" in attributes
        headers["cookie"] = f"{cookie}; {value}"
        response = await pages.get(made.headers["location"], headers=headers)
        assert response.text.count("https://ai.example.org/v1") == 3
        assert "http://" not in response.text


async def test_a_key_has_the_limits_and_the_last_day_that_were_typed(
    people: People, pool: Pool
) -> None:
    day = datetime.now(UTC).date() + timedelta(days=30)
    async with people.signed_in(await people.create()) as pages:
        await make_key(
            pages,
            name="  mine ",
            expires_on=day.isoformat(),
            requests_per_minute="60",
            credits_total="1,000,000",
            models="gpt-4o-*, o4-mini",
            insufficient_status="429",
            force_store_false="yes",
        )
        listed = await pages.see("/account/keys")
    assert "status 429 when the balance is too low" in listed.text
    assert "stores nothing at OpenAI" in listed.text
    key = await pool.fetchrow(
        "SELECT name, expires_at, limits, insufficient_status FROM api_keys WHERE kind = 'key'"
    )
    assert key is not None
    assert (key["name"], key["insufficient_status"]) == ("mine", 429)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert key["expires_at"] == midnight + timedelta(days=1)
    for part in ('"requests_per_minute": 60', '"credits_total": 1000000', '"gpt-4o-*"'):
        assert part in key["limits"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "x" * 201, "at most 200 characters"),
        ("name", "a\x00b", "no control characters"),
        ("expires_on", "2020-01-01", "today or a later date"),
        ("expires_on", "9999-12-31", "today or a later date"),
        ("expires_on", "tomorrow", "must be a date"),
        ("requests_per_minute", "many", "whole number"),
        ("requests_per_minute", "0", "at least 1"),
        ("tokens_per_minute", "-5", "at least 1"),
        ("parallel_requests", "1.5", "whole number"),
        ("credits_total", "9" * 400, "at most"),
        ("models", "x" * 201, "patterns"),
        ("models", "a\x00b", "control characters"),
        ("insufficient_status", "403", "not one of the choices"),
        ("scopes", "", "at least one"),
    ],
)
async def test_what_is_wrong_is_told_at_its_field_and_nothing_is_lost(
    people: People, pool: Pool, field: str, value: str, words: str
) -> None:
    async with people.signed_in(await people.create()) as pages:
        scopes = NEW_KEY if field != "scopes" else {}
        typed = {**scopes, "name": "kept", "credits_total": "12", field: value}
        response = await pages.submit("/account/keys", **typed)
        assert response.status_code == 400
        told = re.search(rf'<p class="error" id="e-{field}">([^<]*)</p>', response.text)
        assert told
        assert words in told.group(1)
        assert response.text.count('class="error"') == 1
        if field != "name":
            assert 'value="kept"' in response.text
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE kind = 'key'") == 0


async def test_keys_of_others_are_not_there(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as other:
        await make_key(other)
    key_id = await pool.fetchval("SELECT id FROM api_keys WHERE kind = 'key'")
    session_id = await pool.fetchval("SELECT id FROM api_keys WHERE kind = 'sign-in'")
    before = await pool.fetch(
        "SELECT secret_sha256, revoked_at FROM api_keys WHERE id = $1", key_id
    )
    async with people.signed_in(await people.create()) as pages:
        for act in ("rotate", "revoke"):
            for each in (key_id, session_id, 987654321):
                assert (await pages.submit(f"/account/keys/{each}/{act}")).status_code == 404
    after = await pool.fetch("SELECT secret_sha256, revoked_at FROM api_keys WHERE id = $1", key_id)
    assert before == after


async def test_requests_are_listed_filtered_and_explained(
    people: People, pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    somebody = await people.create(balance=10_000)
    async with people.signed_in(somebody) as pages:
        secret = await make_key(pages, name="mine")
        used = (await chat(http, secret)).json()["usage"]["total_tokens"]
        upstream.script(Response(status=429, body=b'{"error": {"message": "no"}}'))
        assert (await chat(http, secret)).status_code == 429
        settled, voided = await requests_of(pool, somebody)

        listed = (await pages.see("/account/requests")).text
        assert listed.index(voided) < listed.index(settled)
        only = (await pages.see("/account/requests?state=voided&model=gpt-4o-mini&days=7")).text
        assert voided in only
        assert settled not in only
        assert "No matching requests." in (await pages.see("/account/requests?model=none")).text

        page = (await pages.see(f"/account/requests/{settled}")).text
        assert f"It used {used} tokens and was charged {used} credits" in page
        assert "Estimated input, at most" in page
        assert "Tokens, all kinds" in page
        assert "Every token is one credit." in page
        assert f"\u2212{used}" in page
        page = (await pages.see(f"/account/requests/{voided}")).text
        assert "The request cost nothing" in page

        for query in ("state=nonsense", "days=0", "model=%00", "model=" + "x" * 300):
            response = await pages.get(f"/account/requests?{query}")
            assert response.status_code == 400, query
            assert 'class="error"' in response.text
    async with people.signed_in(await people.create()) as other:
        assert (await other.get(f"/account/requests/{settled}")).status_code == 404
        for request_id in ("tb_none", "%00", "x" * 500, "..%2f.."):
            assert (await other.get(f"/account/requests/{request_id}")).status_code == 404


async def test_long_lists_have_pages(people: People, pool: Pool) -> None:
    somebody = await people.create()
    await pool.execute(
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor, note)"
        " SELECT $1, 'top-up', 1, n, 'tests', 'entry ' || n || '.' FROM generate_series(1, 120) n",
        somebody.account_id,
    )
    async with people.signed_in(somebody) as pages:
        seen: list[str] = []
        path = "/account/ledger"
        while path:
            text = (await pages.see(path)).text
            seen += re.findall(r"entry (\d+)\.", text)
            following = re.search(r'href="(/account/ledger\?after=[^"]+)" rel="next"', text)
            path = following.group(1) if following else ""
        assert seen == [str(n) for n in range(120, 0, -1)]


async def test_the_ledger_is_a_file_of_ones_own_entries(people: People) -> None:
    await people.create(balance=777)
    async with people.signed_in(await people.create(balance=500)) as pages:
        response = await pages.get("/account/ledger.csv")
        assert response.headers["content-type"].startswith("text/csv")
        assert response.headers["content-disposition"].startswith('attachment; filename="tokenba')
        assert response.headers["cache-control"] == "no-store"
        (row,) = csv.DictReader(io.StringIO(response.text))
        assert (row["kind"], row["amount"], row["note"]) == ("grant", "500", "a first grant")


async def test_a_name_is_changed(people: People) -> None:
    async with people.signed_in(await people.create(name="Ada")) as pages:
        response = await pages.submit("/account/profile/name", name="Grace")
        assert (response.status_code, response.headers["location"]) == (303, "/account/profile")
        page = (await pages.see("/account/profile")).text
        assert 'value="Grace"' in page
        assert "Name saved." in page
        response = await pages.submit("/account/profile/name", name="x" * 201)
        assert response.status_code == 400
        assert 'id="e-name"' in response.text


async def test_a_new_password_signs_out_everywhere_else(people: People) -> None:
    somebody = await people.create()
    fields = {"current": PASSWORD, "password": "another one", "repeated": "another one"}
    async with people.signed_in(somebody) as here, people.signed_in(somebody) as there:
        for wrong, field in (
            ({"current": "not mine"}, "current"),
            ({"repeated": "another two"}, "repeated"),
            ({"password": "abc", "repeated": "abc"}, "password"),
            ({"password": "x" * 2000, "repeated": "x" * 2000}, "password"),
        ):
            response = await here.submit("/account/profile/password", **{**fields, **wrong})
            assert response.status_code == 400
            assert f'id="e-{field}"' in response.text
            assert "another" not in re.sub(r"<p class=.*?</p>", "", response.text)
        assert (await there.get("/account")).status_code == 200
        assert (await here.submit("/account/profile/password", **fields)).status_code == 303
        assert "Password changed." in (await here.see("/account/profile")).text
        assert (await there.get("/account")).status_code == 303
    async with people.pages() as pages:
        await pages.see("/sign-in")
        response = await pages.submit("/sign-in", email=somebody.email, password="another one")
        assert response.status_code == 303

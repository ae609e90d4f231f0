"""What every page refuses, and what it says about itself in its headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from starlette.routing import Route

from tokenbalance.web.panel.mount import ROUTES
from tokenbalance.web.panel.page import Page

if TYPE_CHECKING:
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

FORM = {"content-type": "application/x-www-form-urlencoded"}
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "http://[bad"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]
TABLES = ("users", "accounts", "api_keys", "ledger", "memberships", "projects", "invitations")


def pages_of(method: str) -> list[str]:
    """The address of every page that has a handler for the method; ids are 1."""
    return [
        re.sub(r"\{[^}]*\}", "1", route.path)
        for route in ROUTES
        if isinstance(route, Route)
        if isinstance(page := route.app, Page)
        if getattr(page, method) is not None
    ]


POSTS = pages_of("post")
GETS = pages_of("get")
OPEN = {"/sign-in", "/sign-up", "/welcome/1", "/invitations/1"}
"""Pages for strangers."""


async def books(pool: Pool) -> list[object]:
    """Everything that a page could change."""
    return [
        # Being seen is noted, at most once a minute.
        await pool.fetch(f"SELECT to_jsonb(t) - 'last_used_at' FROM {table} t ORDER BY 1")  # noqa: S608 - a constant
        for table in TABLES
    ]


def test_there_are_pages_that_post() -> None:
    assert {"/sign-in", "/sign-out", "/account/keys", "/account/keys/1/revoke"} <= set(POSTS)


async def refused(pages: Pages, path: str, **options: object) -> None:
    """Send a form that must not be taken, to an address that must say so on a page."""
    response = await pages.post(path, **options)  # pyright: ignore[reportArgumentType] - as given
    assert response.status_code == 403, (path, response.status_code)
    assert "text/html" in response.headers["content-type"]
    assert "Nothing was changed" in response.text


async def test_no_form_is_taken_without_its_token(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        await pages.get("/account")
        before = await books(pool)
        for path in POSTS:
            await refused(pages, path, data={"name": "x"})
            await refused(pages, path, data={"form-token": "", "name": "x"})
            await refused(pages, path, data={"form-token": "0" * 64, "name": "x"})
            await refused(pages, path, data={"form-token": "\u00e9" * 64, "name": "x"})
            # A token in the address is none.
            await refused(pages, f"{path}?form-token={pages.token}", data={"name": "x"})
        assert await books(pool) == before


async def test_no_form_is_taken_with_the_token_of_another_session(
    people: People, pool: Pool
) -> None:
    somebody = await people.create(is_superuser=True)
    async with people.signed_in(somebody) as one, people.signed_in(somebody) as other:
        before = await books(pool)
        assert one.token != other.token
        for path in POSTS:
            await refused(one, path, data={"form-token": other.token, "name": "x"})
        assert await books(pool) == before


async def test_no_form_is_taken_from_another_site(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        before = await books(pool)
        for header in FOREIGN:
            for path in POSTS:
                await refused(pages, path, data={"form-token": pages.token}, headers=header)
        assert await books(pool) == before


async def test_a_form_is_taken_from_this_site(people: People, product: str) -> None:
    async with people.signed_in(await people.create()) as pages:
        response = await pages.post(
            "/account/profile/name",
            data={"form-token": pages.token, "name": "Ada"},
            headers={"origin": product, "sec-fetch-site": "same-origin"},
        )
        assert response.status_code == 303


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("gw.example", "https://gw.example", 303),
        ("gw.example:443", "https://gw.example", 303),
        ("GW.example:443", "https://gw.example:443", 303),
        ("gw.example", "http://gw.example", 303),
        ("gw.example:80", "http://gw.example", 303),
        # A reverse proxy that listens on 80, behind one that ends TLS.
        ("gw.example:80", "https://gw.example", 303),
        ("gw.example:8443", "https://gw.example:8443", 303),
        ("[::1]:80", "http://[::1]", 303),
        ("gw.example:8443", "https://gw.example", 403),
        ("gw.example", "https://gw.example:8443", 403),
        ("gw.example:443", "https://gw.example.evil", 403),
        ("gw.example:443", "https://evil.example", 403),
        ("gw.example:80", "http://gw.example:443", 403),
    ],
)
async def test_an_origin_is_ours_when_its_host_and_port_are_however_they_are_spelled(
    people: People, host: str, origin: str, status: int
) -> None:
    async with people.signed_in(await people.create()) as pages:
        response = await pages.post(
            "/account/profile/name",
            data={"form-token": pages.token, "name": "Ada"},
            headers={"host": host, "origin": origin, "sec-fetch-site": "same-origin"},
        )
    assert response.status_code == status


async def test_a_stranger_signs_in_with_the_token_of_their_own_cookie_only(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as one, people.pages() as other:
        await one.see("/sign-in")
        await other.see("/sign-in")
        fields = {"email": somebody.email, "password": somebody.password}
        await refused(one, "/sign-in", data={"form-token": other.token, **fields})
        assert (await one.submit("/sign-in", **fields)).status_code == 303


async def test_looking_changes_nothing(people: People, pool: Pool) -> None:
    somebody = await people.create(is_superuser=True, balance=1000)
    async with people.signed_in(somebody) as pages:
        await pool.execute(
            "INSERT INTO api_keys (account_id, prefix, secret_sha256)"
            " VALUES ($1, 'tb-x', sha256('x'))",
            somebody.account_id,
        )
        before = await books(pool)
        for path in GETS:
            for method in ("GET", "HEAD"):
                response = await pages.request(method, path)
                assert response.status_code < 500, path
        for path in set(POSTS) - set(GETS):
            assert (await pages.get(path)).status_code == 405
        assert await books(pool) == before


async def test_strangers_are_led_to_the_sign_in_whatever_they_ask_for(
    people: People, pool: Pool
) -> None:
    await people.create()
    before = await books(pool)
    async with people.pages() as pages:
        for path in {*GETS, "/account/nowhere", "/admin/nowhere"} - OPEN:
            response = await pages.get(path)
            assert response.status_code == 303, path
            assert response.headers["location"].startswith("/sign-in"), path
        for path in set(POSTS) - OPEN - {"/sign-out"}:
            response = await pages.post(path, data={"name": "x"})
            following = f"?{urlencode({'next': path})}" if path in GETS else ""
            led_to = (response.status_code, response.headers["location"])
            assert led_to == (303, f"/sign-in{following}"), path
    assert await books(pool) == before


async def test_a_user_is_forbidden_what_is_for_superusers(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        before = await books(pool)
        for path in {"/admin", "/admin/nowhere", *GETS}:
            if path.startswith("/admin"):
                response = await pages.get(path)
                assert response.status_code == 403, path
                assert "text/html" in response.headers["content-type"]
        for path in POSTS:
            if path.startswith("/admin"):
                response = await pages.submit(path, name="x")
                assert response.status_code == 403, path
        assert await books(pool) == before


async def test_every_page_says_what_browsers_may_do_with_it(people: People) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        responses = [await pages.get(path) for path in (*GETS, "/account/nowhere")]
        responses += [await pages.post(path) for path in POSTS]
    async with people.pages() as pages:
        responses += [await pages.get(path) for path in GETS]
    for response in responses:
        headers = response.headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ), response.url
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert "strict-transport-security" not in headers


async def test_no_page_has_a_script_or_a_style_in_it(people: People) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        for path in GETS:
            text = (await pages.get(path)).text
            assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text), path
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), path
            assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text), path


async def test_cookies_are_for_this_site_and_for_no_script(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        first = await pages.see("/sign-in")
        second = await pages.submit("/sign-in", email=somebody.email, password=somebody.password)
    for response, name in ((first, "tokenbalance-form"), (second, "tokenbalance")):
        (cookie,) = [
            each for each in response.headers.get_list("set-cookie") if each.startswith(f"{name}=")
        ]
        attributes = cookie.lower().split("; ")[1:]
        assert sorted(attributes) == ["httponly", "path=/", "samesite=lax"]


async def test_cookies_over_tls_are_for_this_host_alone(people: People, product: str) -> None:
    somebody = await people.create()
    forwarded = {"x-forwarded-proto": "https", "origin": product.replace("http:", "https:")}
    async with people.pages(headers=forwarded) as pages:
        first = await pages.see("/sign-in")
        # The client itself is not on TLS, and so would keep these to itself.
        secret = first.headers["set-cookie"].partition(";")[0]
        assert secret.startswith("__Host-tokenbalance-form=")
        second = await pages.post(
            "/sign-in",
            data={
                "form-token": pages.token,
                "email": somebody.email,
                "password": somebody.password,
            },
            headers={"cookie": secret},
        )
        session = next(
            each
            for each in second.headers.get_list("set-cookie")
            if each.startswith("__Host-tokenbalance=")
        )
        attributes = session.lower().split("; ")[1:]
        assert sorted(attributes) == ["httponly", "path=/", "samesite=lax", "secure"]
        page = await pages.get("/account", headers={"cookie": session.partition(";")[0]})
        assert page.status_code == 200
    # Over plain HTTP, where anybody could have set it, the same cookie is nobody's.
    async with people.pages(headers={"cookie": session.partition(";")[0]}) as pages:
        assert (await pages.get("/account")).status_code == 303


async def test_only_small_plain_forms_are_read(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        token = f"form-token={pages.token}&".encode()
        path = "/account/profile/name"
        for content, headers, status in (
            (b'{"name": "x"}', {"content-type": "application/json"}, 415),
            (b"", {"content-type": "multipart/form-data; boundary=x"}, 415),
            (token + b"name=" + b"x" * 70_000, FORM, 413),
            (token + b"&".join(b"f%d=1" % n for n in range(200)), FORM, 400),
            (token + b"name=a&name=b", FORM, 400),
            (token + b"name=%ff", FORM, 400),
            (token + b"name=\xff", FORM, 400),
            (token + b"name=%00", FORM, 400),
            (token + b"name=Ada", FORM, 303),
        ):
            response = await pages.post(path, content=content, headers=headers)
            assert response.status_code == status, content[:80]
            assert "server error" not in response.text


async def test_errors_on_pages_are_pages(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        for path in (
            "/account/nowhere",
            "/account/keys?after=rubbish",
            "/account/ledger?after=%00",
        ):
            response = await pages.get(path)
            assert response.status_code in {400, 404}, path
            assert response.text.startswith("<!doctype html>")
        for key in ("0", "x", "-1", "9" * 30, "9223372036854775807", "%00"):
            response = await pages.submit(f"/account/keys/{key}/revoke")
            assert response.status_code == 404, key
            assert response.text.startswith("<!doctype html>")
        response = await pages.request("DELETE", "/account")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
        # What fails inside is told nobody.
        await pool.execute("ALTER TABLE accounts RENAME COLUMN overdraft TO gone")
        try:
            response = await pages.get("/account")
        finally:  # The database is other tests' too.
            await pool.execute("ALTER TABLE accounts RENAME COLUMN gone TO overdraft")
        assert response.status_code in {500, 503}
        assert "overdraft" not in response.text
        assert response.text.startswith("<!doctype html>")


async def test_assets_are_kept_for_long_and_change_their_address(people: People) -> None:
    async with people.pages() as pages:
        page = (await pages.see("/sign-in")).text
        addresses = re.findall(r'(?:src|href)="(/panel/assets/[^"]+)"', page)
        assert len(addresses) >= 4
        for address in addresses:
            assert re.search(r"\?v=[0-9a-f]{12}$", address)
            response = await pages.get(address)
            assert response.status_code == 200
            assert "immutable" in response.headers["cache-control"]
            assert response.headers["x-content-type-options"] == "nosniff"
        assert (await pages.get("/panel/assets/../assets.py")).status_code == 404
        assert (await pages.get("/panel/assets/..%2fassets.py")).status_code == 404

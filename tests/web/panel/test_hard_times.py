"""Pages whose database is away, whose visitors are slow, and whose lists are very long."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support import postgres
from tests.support.people import People
from tests.support.product import serving
from tests.support.slow_client import a_trickle, silence, status_for
from tests.web.panel.test_guards import GETS, POSTS
from tokenbalance.database.connections import open_sessions
from tokenbalance.web.panel import forms
from tokenbalance.wire.client import request as wire

if TYPE_CHECKING:
    import httpx2

    from tests.support.people import Pages
    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres

HEAD = (
    "POST /account/profile/name HTTP/1.1\r\nhost: {host}\r\ncookie: tokenbalance={session}\r\n"
    "content-type: application/x-www-form-urlencoded\r\ncontent-length: 1000\r\n\r\n"
)


async def test_every_page_says_that_the_books_are_away(
    cluster: EmbeddedPostgres, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    dsn = await postgres.clone(cluster, template)
    async with open_sessions(dsn) as sessions, serving(dsn, None) as url:
        people = People(sessions, url)
        somebody = await people.create(is_superuser=True)
        async with people.signed_in(somebody) as pages, people.pages() as stranger:
            await stranger.see("/sign-in")
            await postgres.drop(cluster, dsn)
            with caplog.at_level(logging.CRITICAL, "tokenbalance.books.ledger"):
                responses = [await pages.get(path) for path in GETS]
                responses += [await pages.submit(path, name="x") for path in POSTS]
                responses.append(await stranger.submit("/sign-in", email="a@b.c", password="x"))
            for response in responses:
                assert response.status_code == 503, response.url
                assert response.text.startswith("<!doctype html>")
                assert "cannot connect to its database" in response.text
                assert "Nothing was changed" not in response.text
                sent = response.request.method == "POST"
                assert ("may or may not have been saved" in response.text) is sent
                assert (
                    f'href="{response.request.url.path}">Try again' in response.text
                ) is not sent
                assert int(response.headers["retry-after"]) >= 1


def head(pages: Pages) -> str:
    return HEAD.replace("{session}", pages.cookies["tokenbalance"])


async def test_a_form_that_never_comes_is_not_waited_for(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BODY_SILENCE_MAX_S", 0.1)
    async with people.signed_in(await people.create()) as pages:
        assert await status_for(str(pages.base_url), head(pages), silence()) == b"HTTP/1.1 408"


async def test_a_form_that_trickles_in_is_not_waited_for(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "BODY_WITHIN_S", 0.2)
    async with people.signed_in(await people.create()) as pages:
        assert await status_for(str(pages.base_url), head(pages), a_trickle()) == b"HTTP/1.1 408"


async def test_who_leaves_while_a_form_is_sent_is_no_fault(
    people: People, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    somebody = await people.create(name="Ada")
    async with people.signed_in(somebody) as pages:
        where = urlsplit(str(pages.base_url))
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(head(pages).format(host=where.netloc).encode() + b"name=Eve")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        # What is asked for afterwards is answered afterwards.
        await pages.see("/account")
    assert "A page failed" not in caplog.text
    assert await pool.fetchval("SELECT name FROM users WHERE id = $1", somebody.user_id) == "Ada"


async def test_the_page_of_a_user_with_many_keys_shows_the_newest(
    people: People, pool: Pool
) -> None:
    somebody = await people.create()
    await pool.execute(
        "INSERT INTO api_keys (account_id, name, prefix, secret_sha256)"
        " SELECT $1, 'key-' || n, 'tb-x', sha256(n::text::bytea) FROM generate_series(1, 3000) n",
        somebody.account_id,
    )
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        page = (await pages.see(f"/admin/users/{somebody.user_id}")).text
        shown = list(dict.fromkeys(re.findall(r"key-(\d+)", page)))
        assert shown == [str(number) for number in range(3000, 3000 - len(shown), -1)]
        assert 10 <= len(shown) <= 100
        # The rest is found from there.
        link = re.search(r'href="(/admin/keys\?search=[^"]+)"', page)
        assert link is not None
        assert "key-3000" in (await pages.see(link.group(1))).text


@pytest.mark.parametrize("path", ["/admin", "/account", "/admin/users", "/account/keys"])
async def test_an_address_that_ends_in_a_slash_leads_to_the_page(people: People, path: str) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        for slashes in ("/", "//"):
            response = await pages.get(path + slashes)
            assert (response.status_code, response.headers["location"]) == (303, path)
        assert (await pages.submit(f"{path}/")).status_code == 404


async def test_the_present_password_is_not_guessed_without_end(people: People) -> None:
    somebody = await people.create()
    new = {"password": "another one", "repeated": "another one"}
    async with people.signed_in(somebody) as pages:

        async def guess(*numbers: int) -> list[httpx2.Response]:
            path = "/account/profile/password"
            guesses = (pages.submit(path, current=f"guess {n}", **new) for n in numbers)
            return await asyncio.gather(*guesses)

        # No more at once than may wait at one address.
        responses = [*await guess(*range(6)), *await guess(*range(6, 12))]
        assert {response.status_code for response in responses} == {400}
        looked_at = [response for response in responses if "Wrong password" in response.text]
        assert len(looked_at) <= 10
        assert any("Too many failed sign-in attempts" in response.text for response in responses)

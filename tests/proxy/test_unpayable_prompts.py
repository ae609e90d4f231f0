"""Prompts that cost more than the balance: refused before they are counted, or as soon as known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.documents import CHAT
from tokenbalance.openai.estimate import count
from tokenbalance.openai.tokens import counting

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SENTENCE = "All work and no play makes Jack a dull boy. "
TOKENS = 11
"""Of a sentence, with its full stop."""


def prompt(sentences: int) -> dict[str, Any]:
    message = {"role": "user", "content": SENTENCE * sentences}
    return {"model": "gpt-4o-mini", "messages": [message], "max_tokens": 5}


async def send(http: httpx2.AsyncClient, holder: Holder, sentences: int) -> httpx2.Response:
    body = prompt(sentences)
    return await http.post("/v1/chat/completions", json=body, headers=holder.headers)


def needed(response: httpx2.Response) -> int:
    assert response.status_code == 402
    found = re.search(r"needs more than (\d+) credits", response.json()["error"]["message"])
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("sentences", [3_000, 30_000])
async def test_a_prompt_that_fits_in_no_case_is_refused_uncounted(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, sentences: int
) -> None:
    holder = await create_holder(pool, 300)
    with mock.patch.object(counting, "_count_piece") as counted:
        response = await send(http, holder, sentences)
    assert 300 <= needed(response) < sentences * TOKENS
    assert "300 are available" in response.json()["error"]["message"]
    counted.assert_not_called()
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []


async def test_counting_stops_as_soon_as_the_balance_does_not_cover_it(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 20_000)
    with mock.patch.object(counting, "_count_piece", wraps=counting._count_piece) as counted:
        response = await send(http, holder, 30_000)
    assert 20_000 <= needed(response) < 30_000 * TOKENS
    assert counted.call_count == 2
    assert upstream.requests == []
    assert (await account_of(pool, holder)).balance == 20_000


async def test_a_prompt_that_just_fits_is_counted_to_its_end(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    minimum = count(CHAT, prompt(10_000)).input_tokens + 1
    enough = await create_holder(pool, minimum)
    assert (await send(http, enough, 10_000)).status_code == 200
    short = await create_holder(pool, minimum - 1)
    response = await send(http, short, 10_000)
    assert response.status_code == 402
    assert f"needs {minimum} credits" in response.json()["error"]["message"]

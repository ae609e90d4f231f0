"""What hosted tools of the sandbox make is, through the product, its caller's and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.support.books import create_holder
from tests.support.product import serving

if TYPE_CHECKING:
    from openai.types.responses import Response

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.sandbox.serving import Sandbox

PROMPT = "Search my files for apples, run code, save a file, and draw a picture"
MODEL = "gpt-4o-mini"
BALANCE = 10**7


def client_of(holder: Holder, url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=holder.secret, base_url=f"{url}/v1", max_retries=0)


async def ask(client: openai.AsyncOpenAI, store: str, *, stream: bool) -> Response:
    tools: Any = [
        {"type": "file_search", "vector_store_ids": [store]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation", "quality": "low"},
    ]
    body = {"tools": tools, "max_tool_calls": 3}
    if not stream:
        return await client.responses.create(model=MODEL, input=PROMPT, extra_body=body)
    async with client.responses.stream(model=MODEL, input=PROMPT, extra_body=body) as events:
        return await events.get_final_response()


@pytest.mark.parametrize("stream", [False, True])
async def test_containers_and_files_of_a_response_are_the_callers(
    dsn: str, pool: Pool, sandbox: Sandbox, *, stream: bool
) -> None:
    ada, eve = [await create_holder(pool, BALANCE) for _ in range(2)]
    async with (
        serving(dsn, sandbox.base_url) as url,
        client_of(ada, url) as client,
        client_of(eve, url) as stranger,
    ):
        file = await client.files.create(file=("a.txt", b"Many apples"), purpose="user_data")
        store = await client.vector_stores.create(file_ids=[file.id])
        response = await ask(client, store.id, stream=stream)
        search, code, picture, message = response.output
        assert search.type == "file_search_call"
        assert code.type == "code_interpreter_call"
        assert picture.type == "image_generation_call"
        assert message.type == "message"
        assert message.content[0].type == "output_text"
        quoted, written = message.content[0].annotations
        assert quoted.type == "file_citation"
        assert quoted.file_id == file.id
        assert written.type == "container_file_citation"
        assert (await client.containers.retrieve(code.container_id)).status == "running"
        content = await client.containers.files.content.retrieve(
            written.file_id, container_id=written.container_id
        )
        assert content.content == b"Hello from the sandbox\n"
        with pytest.raises(openai.NotFoundError):
            await stranger.containers.retrieve(code.container_id)
        with pytest.raises(openai.NotFoundError):
            await stranger.containers.files.content.retrieve(
                written.file_id, container_id=written.container_id
            )
        with pytest.raises(openai.NotFoundError):
            await ask(stranger, store.id, stream=stream)
        resumed = await client.responses.retrieve(response.id, stream=True, starting_after=3)
        assert (await anext(aiter(resumed))).sequence_number == 4
        await resumed.close()
    charges = await pool.fetch("SELECT estimated, overrun FROM ledger WHERE kind = 'charge'")
    assert [tuple(row) for row in charges] == [(False, 0)]

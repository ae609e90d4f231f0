"""A day with the official SDK: what one user makes works, costs, and does not exist for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tokenbalance.sandbox.pictures import png
from tokenbalance.sandbox.serving import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

MODEL = "gpt-4o-mini"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n%\xe2\xe3\xcf\xd3\ntrailer<<>>\n%%EOF\n"
)
NOTES = b"The harvest of apples was large. Pears were few."
BALANCE = 10**7
CHARGES = "SELECT endpoint, -amount AS amount FROM ledger WHERE kind = 'charge' ORDER BY id"
LISTS = ("files", "vector_stores", "containers", "skills", "voice_consents", "chats")


@pytest.fixture
async def url(dsn: str) -> AsyncIterator[str]:
    with serve_in_thread() as sandbox:
        async with serving(dsn, sandbox.base_url) as url:
            yield f"{url}/v1"


def client_of(holder: Holder, url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=holder.secret, base_url=url, max_retries=0)


async def test_a_day_with_the_sdk(url: str, pool: Pool) -> None:
    ada, eve = await create_holder(pool, BALANCE), await create_holder(pool, BALANCE)
    async with client_of(ada, url) as client, client_of(eve, url) as stranger:
        day = Day(client)
        await day.asks_about_a_pdf()
        await day.converses()
        await day.draws()
        await day.speaks_and_listens()
        await day.searches()
        await day.runs_code()
        assert await listed(client) == day.lists
        assert await listed(stranger) == {name: [] for name in LISTS}
        await sees_nothing(stranger, day.made)
    charges = await pool.fetch(CHARGES)
    assert [row["endpoint"] for row in charges] == [endpoint for endpoint, _ in day.costs]
    for row, (endpoint, amounts) in zip(charges, day.costs, strict=True):
        assert row["amount"] in amounts, endpoint


class Day:
    """What Ada does, and what each of it should cost."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client
        self.costs: list[tuple[str, range]] = []
        self.made: dict[str, str] = {}
        """An id of each kind."""

    @property
    def lists(self) -> dict[str, list[str]]:
        """What her lists should show, the newest first."""
        return {
            "files": [self.made["notes"], self.made["file"]],
            "vector_stores": [self.made["vector_store"]],
            "containers": [self.made["container"]],
            "skills": [],
            "voice_consents": [],
            "chats": [self.made["chat"]],
        }

    def pays(self, endpoint: str, usage: Any) -> None:
        assert usage is not None
        self.pays_about(endpoint, usage.total_tokens)

    def pays_about(self, endpoint: str, least: int, more: int = 0) -> None:
        self.costs.append((endpoint, range(least, least + more + 1)))

    async def asks_about_a_pdf(self) -> None:
        file = await self.client.files.create(file=("report.pdf", PDF), purpose="user_data")
        self.made["file"] = file.id
        content = await self.client.files.content(file.id)
        assert content.content == PDF
        parts = [
            {"type": "input_file", "file_id": file.id},
            {"type": "input_text", "text": "What does it say?"},
        ]
        given: list[Any] = [{"role": "user", "content": parts}]
        first = await self.client.responses.create(model=MODEL, input=given)
        self.pays("/responses", first.usage)
        assert "report.pdf" in first.output_text
        again = await self.client.responses.create(
            model=MODEL, input="And then?", previous_response_id=first.id
        )
        self.pays("/responses", again.usage)
        assert first.usage
        assert again.usage
        assert again.usage.input_tokens > first.usage.total_tokens
        self.made["response"] = again.id
        assert (await self.client.responses.retrieve(again.id)).output_text == again.output_text

    async def converses(self) -> None:
        conversation = await self.client.conversations.create(metadata={"topic": "fruit"})
        self.made["conversation"] = conversation.id
        for said in ("Hello", "Good bye"):
            stream = await self.client.responses.create(
                model=MODEL, input=said, conversation=conversation.id, stream=True
            )
            *_, last = [event async for event in stream]
            assert last.type == "response.completed"
            self.pays("/responses", last.response.usage)
        items = await self.client.conversations.items.list(conversation.id)
        assert len(items.data) == 4
        self.made["item"] = items.data[0].id or ""
        said_in_chat: list[Any] = [{"role": "user", "content": "Hello"}]
        chat = await self.client.chat.completions.create(
            model=MODEL, messages=said_in_chat, store=True
        )
        self.pays("/chat/completions", chat.usage)
        self.made["chat"] = chat.id

    async def draws(self) -> None:
        image = await self.client.images.generate(
            model="gpt-image-1", prompt="a boat", size="1024x1024", quality="low"
        )
        self.pays("/images/generations", image.usage)
        edited = await self.client.images.edit(
            model="gpt-image-1",
            prompt="more sea",
            image=("boat.png", png("a boat", 64, 64)),
            size="1024x1024",
            quality="low",
        )
        self.pays("/images/edits", edited.usage)

    async def speaks_and_listens(self) -> None:
        text = "One two three four five"
        speech = await self.client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input=text, response_format="wav"
        )
        # A binary response reports nothing: its text is charged, and what may be around it. So
        # is the query of a search.
        self.pays_about("/audio/speech", 5, 32)
        heard = await self.client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("speech.wav", speech.content)
        )
        self.pays("/audio/transcriptions", heard.usage)

    async def searches(self) -> None:
        notes = await self.client.files.create(file=("notes.txt", NOTES), purpose="user_data")
        store = await self.client.vector_stores.create(name="notes", file_ids=[notes.id])
        self.made |= {"notes": notes.id, "vector_store": store.id}
        found = await self.client.vector_stores.search(store.id, query="apples")
        assert [one.file_id for one in found.data] == [notes.id]
        self.pays_about("/vector_stores/{vector_store_id}/search", 1, 32)

    async def runs_code(self) -> None:
        container = await self.client.containers.create(name="box")
        self.made["container"] = container.id
        self.pays_about("/containers", 0)
        file = await self.client.containers.files.create(container.id, file=("a.csv", b"1,2"))
        self.made["container_file"] = file.id


async def listed(client: openai.AsyncOpenAI) -> dict[str, list[str]]:
    """List what a user has, by the name of the list."""
    calls: dict[str, Any] = {
        "files": client.files.list,
        "vector_stores": client.vector_stores.list,
        "containers": client.containers.list,
        "skills": client.skills.list,
        "voice_consents": client.audio.voice_consents.list,
        "chats": client.chat.completions.list,
    }
    return {name: [one.id for one in (await calls[name]()).data] for name in LISTS}


async def sees_nothing(client: openai.AsyncOpenAI, made: dict[str, str]) -> None:
    """Check that for a stranger none of these objects exists, wherever it may be named."""
    response, conversation = made["response"], made["conversation"]
    create: Any = client.responses.create
    part = {"type": "input_file", "file_id": made["file"]}
    given: list[Any] = [{"role": "user", "content": [part]}]
    tools: list[Any] = [{"type": "file_search", "vector_store_ids": [made["vector_store"]]}]
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: client.files.retrieve(made["file"]),
        lambda: client.files.content(made["file"]),
        lambda: client.files.delete(made["file"]),
        lambda: client.responses.retrieve(response),
        lambda: client.responses.input_items.list(response),
        lambda: client.responses.delete(response),
        lambda: create(model=MODEL, input="Hi", previous_response_id=response),
        lambda: create(model=MODEL, input="Hi", conversation=conversation),
        lambda: create(model=MODEL, input="Hi", tools=tools),
        lambda: create(model=MODEL, input=given),
        lambda: client.conversations.retrieve(conversation),
        lambda: client.conversations.items.list(conversation),
        lambda: client.conversations.items.retrieve(made["item"], conversation_id=conversation),
        lambda: client.chat.completions.retrieve(made["chat"]),
        lambda: client.chat.completions.messages.list(made["chat"]),
        lambda: client.vector_stores.retrieve(made["vector_store"]),
        lambda: (
            client.vector_stores.search(made["vector_store"], query="apples")
            .__aiter__()
            .__anext__()
        ),
        lambda: client.vector_stores.create(file_ids=[made["notes"]]),
        lambda: client.containers.retrieve(made["container"]),
        lambda: client.containers.files.retrieve(
            made["container_file"], container_id=made["container"]
        ),
        lambda: client.files.list(after=made["file"]),
    ]
    for way in ways:
        with pytest.raises(openai.APIStatusError) as refused:
            _ = await way()
        assert refused.value.status_code in {400, 404}, refused.value
        assert refused.value.status_code == 404 or "after" in refused.value.message

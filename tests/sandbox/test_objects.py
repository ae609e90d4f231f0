"""Objects of the sandbox: what is made is there, until it is deleted or goes as the oldest."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types import FileObject, Upload, VectorStore

from tokenbalance.sandbox.memory import Memory, is_example

if TYPE_CHECKING:
    import httpx2
    from openai.types.responses import Response

TEXT = b"The harvest of apples was large. Pears were few."


@pytest.fixture
def file(client: openai.OpenAI) -> FileObject:
    return client.files.create(file=("harvest.txt", TEXT), purpose="user_data")


def test_a_file_can_be_read_until_it_is_deleted(client: openai.OpenAI, file: FileObject) -> None:
    assert (file.filename, file.bytes, file.status) == ("harvest.txt", len(TEXT), "processed")
    assert client.files.content(file.id).content == TEXT
    assert client.files.retrieve(file.id) == file
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("wanted", "status", "sent", "told"),
    [
        ("bytes=4-10", 206, TEXT[4:11], f"bytes 4-10/{len(TEXT)}"),
        ("bytes=-5", 206, TEXT[-5:], f"bytes {len(TEXT) - 5}-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=40-", 206, TEXT[40:], f"bytes 40-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=1000-", 416, b"", f"bytes */{len(TEXT)}"),
        ("lines=1-2", 200, TEXT, None),
    ],
)
def test_a_range_of_a_file_can_be_asked_for(
    http: httpx2.Client, file: FileObject, wanted: str, status: int, sent: bytes, told: str | None
) -> None:
    response = http.get(f"/files/{file.id}/content", headers={"range": wanted})
    assert (response.status_code, response.content) == (status, sent)
    assert response.headers.get("content-range") == told


def test_an_upload_is_the_file_of_its_parts(client: openai.OpenAI) -> None:
    upload = client.uploads.create(
        bytes=6, filename="six.txt", mime_type="text/plain", purpose="user_data"
    )
    parts = [
        client.uploads.parts.create(upload.id, data=data).id for data in (b"one", b"two", b"ten")
    ]
    with pytest.raises(openai.BadRequestError, match="Expected 6 bytes"):
        client.uploads.complete(upload.id, part_ids=parts)
    whole = Upload.model_validate(client.uploads.complete(upload.id, part_ids=parts[1::-1]))
    assert whole.status == "completed"
    assert whole.file is not None
    assert client.files.content(whole.file.id).content == b"twoone"
    with pytest.raises(openai.BadRequestError):
        client.uploads.cancel(upload.id)


def test_a_list_is_paged_in_both_orders(client: openai.OpenAI) -> None:
    made = [client.vector_stores.create(name=str(number)).id for number in range(5)]
    first = client.vector_stores.list(limit=2)
    assert [one.id for one in first.data] == made[:2:-1]
    assert first.has_more
    second = client.vector_stores.list(limit=2, after=first.data[-1].id)
    assert [one.id for one in second.data] == made[2:0:-1]
    oldest = client.vector_stores.list(order="asc", after=made[2]).data
    assert [one.id for one in oldest][:2] == made[3:]
    with pytest.raises(openai.BadRequestError, match="limit"):
        client.vector_stores.list(limit=101)


def test_a_store_is_searched_by_words(client: openai.OpenAI, file: FileObject) -> None:
    other = client.files.create(file=("tax.txt", b"Quarterly report"), purpose="user_data")
    made = client.vector_stores.create(file_ids=[file.id])
    batch = client.vector_stores.file_batches.create(made.id, file_ids=[other.id])
    assert [one.id for one in client.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=made.id
    )] == [other.id]  # fmt: skip
    store = VectorStore.model_validate(client.vector_stores.retrieve(made.id))
    assert store.file_counts.completed == 2
    assert store.usage_bytes == file.bytes + other.bytes
    [match] = client.vector_stores.search(made.id, query="how many apples").data
    assert (match.file_id, match.filename) == (file.id, "harvest.txt")
    assert match.content[0].text == TEXT.decode()
    _ = client.vector_stores.files.delete(file.id, vector_store_id=made.id)
    assert client.vector_stores.search(made.id, query="apples").data == []
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.create(made.id, file_id="file-" + "x" * 22)


def test_a_container_has_files_of_its_own(client: openai.OpenAI, file: FileObject) -> None:
    container = client.containers.create(name="box", file_ids=[file.id])
    made = client.containers.files.create(container.id, file=("a.csv", b"1,2"))
    assert made.path == "/mnt/data/a.csv"
    listed = client.containers.files.list(container.id, order="asc").data
    assert [one.path for one in listed] == ["/mnt/data/harvest.txt", made.path]
    content = client.containers.files.content.retrieve(made.id, container_id=container.id)
    assert content.content == b"1,2"
    client.containers.delete(container.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.files.retrieve(made.id, container_id=container.id)


def test_a_conversation_grows_with_each_response(client: openai.OpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": "Hello"}]
    conversation = client.conversations.create(items=items, metadata={"topic": "demo"})

    def ask() -> Response:
        return client.responses.create(model="gpt-4o", input="More", conversation=conversation.id)

    usages = [ask().usage for _ in range(2)]
    assert usages[0]
    assert usages[1]
    assert usages[1].input_tokens > usages[0].total_tokens
    kept = client.conversations.items.list(conversation.id, order="asc").data
    roles = [getattr(one, "role", None) for one in kept]
    assert roles == ["user", "user", "assistant", "user", "assistant"]
    _ = client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        ask()


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_continued_with_all_that_was_said(
    client: openai.OpenAI, *, stream: bool
) -> None:
    made: Any = client.responses.create(model="gpt-4o", input="Hello", stream=stream)
    first: Response = list(made)[-1].response if stream else made
    again = client.responses.create(model="gpt-4o", input="Hi", previous_response_id=first.id)
    assert first.usage
    assert again.usage
    assert again.usage.input_tokens > first.usage.total_tokens
    counted = client.responses.input_tokens.count(
        model="gpt-4o", input="Hi", previous_response_id=first.id
    )
    assert counted.input_tokens == again.usage.input_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    [item] = client.responses.input_items.list(first.id).data
    assert item.type == "message"
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match="Previous response"):
        client.responses.create(model="gpt-4o", input="Hi", previous_response_id=first.id)


def test_a_stored_response_is_streamed_again_from_where_it_broke_off(
    client: openai.OpenAI,
) -> None:
    whole = list(client.responses.create(model="gpt-4o", input="Hello", stream=True))
    last = whole[-1]
    assert last.type == "response.completed"
    for after in (0, 7, len(whole) - 2):
        again = client.responses.retrieve(last.response.id, stream=True, starting_after=after)
        assert list(again) == whole[after + 1 :]
    assert list(client.responses.retrieve(last.response.id, stream=True)) == whole


def test_a_response_in_one_document_is_streamed_with_all_its_events(client: openai.OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello")
    events = list(client.responses.retrieve(made.id, stream=True, starting_after=0))
    assert [event.sequence_number for event in events] == list(range(1, len(events) + 1))
    deltas = [one.delta for one in events if one.type == "response.output_text.delta"]
    assert "".join(deltas) == made.output_text


def test_a_response_that_is_not_stored_cannot_be_continued(client: openai.OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_file_is_counted_as_input(client: openai.OpenAI) -> None:
    pdf = client.files.create(file=("a.pdf", b"%PDF-1.4 \xff" + bytes(8_000)), purpose="user_data")
    parts = [{"type": "input_file", "file_id": pdf.id}, {"type": "input_text", "text": "What?"}]
    given: list[Any] = [{"role": "user", "content": parts}]
    response = client.responses.create(model="gpt-4o", input=given)
    assert response.usage
    assert response.usage.input_tokens > 1_000
    assert "a.pdf" in response.output_text


def test_a_compacted_response_keeps_the_user_s_words(client: openai.OpenAI) -> None:
    made = client.responses.compact(model="gpt-4o", input="Remember the apples")
    assert [one.type for one in made.output] == ["message", "compaction"]
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0


def test_a_chat_is_stored_if_it_asks_for_it(client: openai.OpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "Hello"}]
    made = client.chat.completions.create(
        model="gpt-4o", messages=said, store=True, metadata={"for": "stored"}
    )
    assert [one.id for one in client.chat.completions.list(metadata={"for": "stored"})] == [made.id]
    [message] = client.chat.completions.messages.list(made.id).data
    assert (message.id, message.content) == (f"{made.id}-0", "Hello")
    assert client.chat.completions.delete(made.id).deleted
    assert client.chat.completions.list(metadata={"for": "stored"}).data == []


def test_a_skill_has_versions(client: openai.OpenAI) -> None:
    head = b"---\nname: tables\ndescription: Makes tables\n---\n"
    skill = client.skills.create(files=[("tables/SKILL.md", head)])
    assert (skill.name, skill.description, skill.latest_version) == ("tables", "Makes tables", "1")
    version = client.skills.versions.create(skill.id, files=[("tables/SKILL.md", head + b"2")])
    assert version.version == "2"
    content = client.skills.versions.content.retrieve("2", skill_id=skill.id).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("tables/SKILL.md").endswith(b"2")
    assert client.skills.retrieve(skill.id).latest_version == "2"
    with pytest.raises(openai.BadRequestError):
        client.skills.versions.delete("1", skill_id=skill.id)


def test_a_voice_needs_a_consent_that_exists(client: openai.OpenAI) -> None:
    consent = client.audio.voice_consents.create(
        language="en-US", name="Ada", recording=("yes.wav", b"RIFF")
    )
    voice = client.audio.voices.create(
        audio_sample=("ada.wav", b"RIFF"), consent=consent.id, name="Ada"
    )
    assert client.audio.voices.delete(voice.id).deleted
    _ = client.audio.voice_consents.delete(consent.id)
    with pytest.raises(openai.NotFoundError):
        client.audio.voices.create(audio_sample=b"RIFF", consent=consent.id, name="Ada")


@pytest.mark.parametrize(
    "name", ["file_id", "file-abc123", "resp_677efb5139a88190b512bc3fef8e535d"]
)
def test_ids_of_the_documentation_always_exist(name: str) -> None:
    assert is_example(name)
    assert not is_example("file-" + "a1" * 11)


def test_the_oldest_objects_go_when_there_are_too_many_or_they_are_too_large() -> None:
    memory = Memory(objects_max=3, bytes_max=1_000)
    for number in range(4):
        _ = memory.keep("file", {"id": str(number)})
    assert [one.id for one in memory.every("file")] == ["1", "2", "3"]
    _ = memory.keep("file", {"id": "large"}, data=bytes(970))
    assert [one.id for one in memory.every("file")] == ["3", "large"]


def test_what_is_part_of_an_object_goes_with_it() -> None:
    memory = Memory()
    store = memory.keep("vector_store", {"id": "vs_1"})
    _ = memory.keep("vector_store_file", {"id": "file-1"}, parent="vs_1")
    memory.drop(store)
    assert memory.every("vector_store_file", "vs_1") == []

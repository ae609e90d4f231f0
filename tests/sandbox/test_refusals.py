"""What OpenAI refuses, the sandbox refuses as well, with the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2
    import openai

SAID: dict[str, Any] = {"model": "gpt-4o", "input": "Hi"}
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
UPLOAD: dict[str, Any] = {"filename": "a.txt", "bytes": 1, "mime_type": "text/plain"}
MANY = {f"key{number}": "x" for number in range(17)}


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/responses", {"metadata": ["x"]}, "invalid_type", "metadata"),
        ("/responses", {"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ("/responses", {"metadata": MANY}, "object_above_max_properties", "metadata"),
        ("/responses", {"metadata": {"k" * 65: "x"}}, "string_above_max_length", "metadata"),
        ("/responses", {"metadata": {"a": "x" * 513}}, "string_above_max_length", "metadata.a"),
        ("/chat/completions", {**CHAT, "metadata": {"a": None}}, "invalid_type", "metadata.a"),
        ("/vector_stores", {"metadata": {"a": True}}, "invalid_type", "metadata.a"),
        ("/conversations", {"metadata": "x"}, "invalid_type", "metadata"),
        ("/uploads", {**UPLOAD, "purpose": "fun"}, "invalid_value", "purpose"),
        ("/uploads", UPLOAD, "missing_required_parameter", "purpose"),
    ],
)
def test_a_wrong_field_is_refused(
    http: httpx2.Client, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    response = http.post(path, json={**SAID, **body} if path == "/responses" else body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)


def test_metadata_of_the_largest_size_is_accepted(http: httpx2.Client) -> None:
    metadata = {f"{number:02}" + "k" * 62: "x" * 512 for number in range(16)}
    response = http.post("/responses", json={**SAID, "metadata": metadata})
    assert response.json()["metadata"] == metadata
    assert http.post("/responses", json={**SAID, "metadata": None}).status_code == 200


def test_a_file_for_an_unknown_purpose_is_refused(http: httpx2.Client) -> None:
    response = http.post("/files", data={"purpose": "fun"}, files={"file": ("a.txt", b"Hello")})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "purpose")


def test_a_response_continues_another_one_or_a_conversation_and_not_both(
    client: openai.OpenAI, http: httpx2.Client
) -> None:
    made = client.responses.create(model="gpt-4o", input="Hi")
    conversation = client.conversations.create()
    both = {"previous_response_id": made.id, "conversation": conversation.id}
    for path in ("/responses", "/responses/input_tokens"):
        response = http.post(path, json={**SAID, **both})
        code = response.json()["error"]["code"]
        assert (response.status_code, code) == (400, "mutually_exclusive_parameters")
    examples = {"previous_response_id": "previous_response_id", "conversation": "string"}
    assert http.post("/responses", json={**SAID, **examples}).status_code == 200


def test_models_of_every_kind_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    expected = {
        "gpt-image-1-mini",
        "gpt-4o-mini-tts",
        "gpt-4o-transcribe",
        "text-embedding-3-small",
    }
    assert expected <= names
    assert all(client.models.retrieve(name).id == name for name in expected)

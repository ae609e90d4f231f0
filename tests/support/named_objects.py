"""Responses that name objects, as documents and as streams, made by hand."""

from __future__ import annotations

from typing import Any

import orjson

CITATION: dict[str, Any] = {
    "type": "container_file_citation",
    "container_id": "cntr_1",
    "file_id": "cfile_1",
    "filename": "plot.png",
}
QUOTATION: dict[str, Any] = {"type": "file_citation", "file_id": "file-1", "filename": "a.txt"}
PART: dict[str, Any] = {
    "type": "output_text",
    "text": 'Not one: "file_id":"x-7", {"id":"x-8"}',
    "annotations": [CITATION, QUOTATION],
}
CALL: dict[str, Any] = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "status": "completed",
    "container_id": "cntr_1",
    "code": "1",
}
SHELL: dict[str, Any] = {
    "type": "shell_call",
    "id": "sh_1",
    "environment": {"type": "container_reference", "container_id": "cntr_2"},
}
SEARCH: dict[str, Any] = {
    "type": "file_search_call",
    "id": "fs_1",
    "results": [{"file_id": "file-2", "text": "one"}],
}
MESSAGE: dict[str, Any] = {"type": "message", "id": "msg_1", "role": "assistant", "content": [PART]}
USAGE: dict[str, Any] = {"input_tokens": 13, "output_tokens": 11, "total_tokens": 24}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    # What the request has in it is repeated, and never says whose something is.
    "metadata": {"id": "x-1", "file_id": "x-2", "output": "x-3", "[]": "x-4", 'x"id': "x-5"},
    "tools": [{"type": "function", "name": "f", "parameters": {"file_id": "x-6"}}],
    "output": [CALL, SHELL, SEARCH, MESSAGE],
    "usage": USAGE,
}
STORED = {
    ("response", "resp_1"),
    ("item", "ci_1"),
    ("item", "sh_1"),
    ("item", "fs_1"),
    ("item", "msg_1"),
}
"""What the response names that lives only where it is stored."""
LIVING = {
    ("container", "cntr_1"),
    ("container", "cntr_2"),
    ("container_file", "cfile_1"),
    ("file", "file-1"),
    ("file", "file-2"),
}
"""What it names that lives anyway."""
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "audio": {"id": "audio_1"}}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


def event(kind: str, **members: Any) -> bytes:
    """One event of a response."""
    data = orjson.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def events_of(response: dict[str, Any] = RESPONSE) -> list[bytes]:
    """The events of a streamed response, one for each object that it names and some of text."""
    begun: dict[str, Any] = {**response, "status": "in_progress", "output": [], "usage": None}
    events = [
        event("response.created", response=begun),
        event("response.in_progress", response=begun),
    ]
    for item in response["output"]:
        bare: dict[str, Any] = {**item, "content": []} if "content" in item else item
        events.append(event("response.output_item.added", item=bare))
        for part in item.get("content", ()):
            named = {"item_id": item["id"]}
            bare_part: dict[str, Any] = {**part, "text": "", "annotations": []}
            events += [
                event("response.content_part.added", **named, part=bare_part),
                event("response.output_text.delta", **named, delta="Hello"),
                *(
                    event("response.output_text.annotation.added", **named, annotation=each)
                    for each in part["annotations"]
                ),
                event("response.content_part.done", **named, part=part),
            ]
        events.append(event("response.output_item.done", item=item))
    return [*events, event("response.completed", response=response)]

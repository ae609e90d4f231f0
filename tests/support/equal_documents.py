"""A stream of events and the document that says the same, made of one another.

events = events_of(b"data: {...}\\n\\ndata: [DONE]\\n\\n")
stream_of(events)          # bytes again
document_of(events)        # what the same request gives without `stream`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Event: TypeAlias = dict[str, Any]

TEXTS = ("content", "refusal", "reasoning_content", "arguments", "text", "name")
"""Members of a delta that are a part of a string."""


def events_of(stream: bytes) -> list[Event]:
    """The documents of a stream's events, without `[DONE]`."""
    lines = stream.replace(b"\r\n", b"\n").split(b"\n")
    datas = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    return [orjson.loads(data) for data in datas if data != b"[DONE]"]


def stream_of(events: Iterable[Event], end: bytes = b"") -> bytes:
    """Their bytes, as the API writes them; chunks of chat and completions end with `[DONE]`."""
    return b"".join([_event(event) for event in events]) + end


def _event(event: Event) -> bytes:
    kind = event.get("type", "")
    name = f"event: {kind}\n".encode() if kind else b""
    return name + b"data: " + orjson.dumps(event) + b"\n\n"


def is_response(events: list[Event]) -> bool:
    """Whether they are of /responses."""
    return any(str(event.get("type", "")).startswith("response.") for event in events)


def document_of(events: list[Event]) -> Event:
    """The document that says what these events say."""
    return _response(events) if is_response(events) else _completion(events)


def with_usage(events: list[Event], change: Callable[[Event], object]) -> list[Event]:
    """The events with another usage wherever they report one."""
    changed: list[Event] = orjson.loads(orjson.dumps(events))
    for event in changed:
        holders: list[Event] = [event, event.get("response") or {}]
        for holder in holders:
            if holder.get("usage"):
                holder["usage"] = change(holder["usage"])
    return changed


def without_end(events: list[Event], kept: int) -> list[Event]:
    """The first few events, but nothing that reports usage or that the response has ended."""
    ends = {"response.completed", "response.incomplete", "response.failed"}
    return [
        event
        for event in with_usage(events[:kept], lambda _: None)
        if event.get("type") not in ends
    ]


def _response(events: list[Event]) -> Event:
    final = [event["response"] for event in events if "response" in event][-1]
    if final["status"] in {"completed", "incomplete", "failed"}:
        return final
    # Nothing has ended yet: what came so far, as one message.
    text = "".join(event["delta"] for event in events if isinstance(event.get("delta"), str))
    return {**final, "output": [{"type": "message", "content": [{"text": text}]}] if text else []}


def _completion(events: list[Event]) -> Event:
    choices: dict[int, Event] = {}
    reports = [event for event in events if isinstance(event.get("usage"), dict)]
    for event in events:
        for choice in event.get("choices") or ():
            merged = choices.setdefault(choice["index"], {"index": choice["index"]})
            said = {"message": choice["delta"]} if "delta" in choice else {"text": choice["text"]}
            _merge(merged, {**said, "finish_reason": choice.get("finish_reason")})
    document: Event = {
        "choices": [choice for _, choice in sorted(choices.items())],
        "usage": reports[-1]["usage"] if reports else None,
        "service_tier": reports[-1].get("service_tier") if reports else None,
    }
    errors = [event["error"] for event in events if event.get("error")]
    return {**document, "error": errors[-1]} if errors else document


def _merge(merged: Event, delta: Event) -> None:
    for name, value in delta.items():
        before = merged.get(name)
        if before is None or value is None:
            merged[name] = before if value is None else _started(value)
        elif isinstance(value, dict):
            _merge(before, cast("Event", value))
        elif isinstance(value, list):
            _merge_calls(before, cast("list[Event]", value))
        else:
            merged[name] = before + value if name in TEXTS else value


def _started(value: Any) -> Any:
    if not isinstance(value, list):
        return orjson.loads(orjson.dumps(value))
    calls: list[Event] = []
    _merge_calls(calls, cast("list[Event]", value))
    return calls


def _merge_calls(calls: list[Event], deltas: list[Event]) -> None:
    for delta in deltas:
        at: int = delta.get("index", len(calls))
        while len(calls) <= at:
            calls.append({})
        _merge(calls[at], delta)

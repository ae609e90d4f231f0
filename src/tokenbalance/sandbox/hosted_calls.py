"""Calls of hosted tools: which of them a response makes, and what comes of each.

A web search is made whenever it is offered. The other tools are called if `tool_choice` names them
or requires a tool, or if the prompt is obvious: "search the file", "run some code", "draw a cat".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.containers import container_named, new_container, write_file
from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.images import tool_image
from tokenbalance.sandbox.replies import new_id
from tokenbalance.sandbox.store_files import example_store
from tokenbalance.sandbox.vector_stores import RESULTS, RESULTS_MAX, found_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call
    from tokenbalance.sandbox.fields import Fields

CALLS_MAX: Final = 128
_QUERY_CHARACTERS: Final = 80
_WEB: Final = "web_search"
_OBVIOUS: Final[Mapping[str, re.Pattern[str]]] = {
    "file_search": re.compile(r"\b(files?|documents?|search|look up)\b", re.IGNORECASE),
    "code_interpreter": re.compile(r"\b(code|python|compute|calculate|plot)\b", re.IGNORECASE),
    "image_generation": re.compile(r"\b(draw|paint|sketch|image|picture)\b", re.IGNORECASE),
}
_SAVES: Final = re.compile(r"\b(files?|save|csv|plot)\b", re.IGNORECASE)
_CODE: Final = 'print("Hello from the sandbox")'
_LOGS: Final = "Hello from the sandbox\n"


@dataclass(frozen=True, slots=True)
class Called:
    """What the calls of a response have come to."""

    items: tuple[Document, ...] = ()
    """In the order in which they were made."""
    citations: tuple[Document, ...] = ()
    """Annotations of the text that follows."""
    read: tuple[str, ...] = ()
    """Texts that the model has read because of them."""
    searches: int = 0
    """Of the web."""
    images: Document | None = None
    """The usage of the image model; None: it has drawn nothing."""


NOTHING_CALLED: Final = Called()


def call_hosted(call: Call, prompt: str) -> Called:
    """Call the hosted tools that a request wants to be called.

    Raises:
        ApiError: a tool is offered in a way that OpenAI would not accept.
    """
    fields = call.fields
    most = fields.integer("max_tool_calls", 0, CALLS_MAX)
    called = NOTHING_CALLED
    for tool in _wanted(fields, prompt)[:most]:
        called = _joined(called, _MADE[_kind(tool)](call, tool, prompt))
    return called


def _wanted(fields: Fields, prompt: str) -> list[Fields]:
    """Return the tools that are called, each once."""
    offered = {_kind(tool): tool for tool in fields.objects("tools") if _kind(tool) in _MADE}
    choice = fields.value("tool_choice")
    if choice == "none":
        return []
    wanted = [tool for kind, tool in offered.items() if _is_called(kind, choice, prompt)]
    insists = choice == "required" and len(offered) == len(fields.objects("tools"))
    return wanted or (list(offered.values())[:1] if insists else [])


def _is_called(kind: str, choice: Json, prompt: str) -> bool:
    if kind == _WEB:
        return True
    if isinstance(choice, dict) and choice.get("type") in _OBVIOUS:
        return choice["type"] == kind
    return _OBVIOUS[kind].search(prompt) is not None


def _kind(tool: Fields) -> str:
    kind = tool.value("type")
    # Also "web_search_preview", and those with a date.
    return _WEB if isinstance(kind, str) and kind.startswith(_WEB) else str(kind)


def _joined(one: Called, other: Called) -> Called:
    return replace(
        one,
        items=(*one.items, *other.items),
        citations=(*one.citations, *other.citations),
        read=(*one.read, *other.read),
        searches=one.searches + other.searches,
        images=other.images or one.images,
    )


def _search_web(_call: Call, _tool: Fields, prompt: str) -> Called:
    query = prompt[:_QUERY_CHARACTERS]
    item: Document = {
        "id": new_id("ws_"),
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": query, "queries": [query]},
    }
    return Called((item,), searches=1)


def _search_files(call: Call, tool: Fields, prompt: str) -> Called:
    most = tool.integer("max_num_results", 1, RESULTS_MAX) or RESULTS
    matches: list[Document] = []
    for name in tool.strings("vector_store_ids"):
        store = call.memory.found_or_example("vector_store", name, example_store)
        if store is None:
            raise no_such_object("vector_store", name)
        matches += found_in(call, store, [prompt], most)
    texts = [_text_of(match) for match in matches[:most]]
    results: list[Json] = [
        {**{name: match[name] for name in _RESULT}, "text": text}
        for match, text in zip(matches, texts, strict=False)
    ]
    shown = "file_search_call.results" in call.fields.strings("include")
    item: Document = {
        "id": new_id("fs_"),
        "type": "file_search_call",
        "status": "completed",
        "queries": [prompt[:_QUERY_CHARACTERS]],
        "results": results if shown else None,
    }
    cited = {str(match["file_id"]): match for match in matches[:most]}
    citations: list[Document] = [
        {"type": "file_citation", "index": 0, "file_id": name, "filename": match["filename"]}
        for name, match in cited.items()
    ]
    return Called((item,), tuple(citations), tuple(texts))


_RESULT: Final = ("attributes", "file_id", "filename", "score")


def _text_of(match: Document) -> str:
    content = match["content"]
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text")) for part in parts if isinstance(part, dict))


def _run_code(call: Call, tool: Fields, prompt: str) -> Called:
    given = tool.required("container")
    if isinstance(given, str):
        container = container_named(call, given)
    else:
        container = new_container(call, tool.within("container"))
    shown = "code_interpreter_call.outputs" in call.fields.strings("include")
    outputs: list[Json] = [{"type": "logs", "logs": _LOGS}]
    item: Document = {
        "id": new_id("ci_"),
        "type": "code_interpreter_call",
        "status": "completed",
        "code": _CODE,
        "container_id": container.id,
        "outputs": outputs if shown else None,
    }
    if _SAVES.search(prompt) is None:
        return Called((item,), read=(_LOGS,))
    file = write_file(call, container, "result.txt", _LOGS.encode())
    citation: Document = {
        "type": "container_file_citation",
        "container_id": container.id,
        "file_id": file["id"],
        "filename": "result.txt",
        "start_index": 0,
        "end_index": 0,
    }
    return Called((item,), (citation,), (_LOGS,))


def _draw(_call: Call, tool: Fields, prompt: str) -> Called:
    image, usage = tool_image(tool, prompt or "A picture")
    item: Document = {
        "id": new_id("ig_"),
        "type": "image_generation_call",
        "status": "completed",
        "action": "generate",
        **image,
        "revised_prompt": prompt,
    }
    return Called((item,), images=usage)


_MADE: Final[Mapping[str, Callable[[Call, Fields, str], Called]]] = {
    _WEB: _search_web,
    "file_search": _search_files,
    "code_interpreter": _run_code,
    "image_generation": _draw,
}

"""An upstream that remembers: responses continue each other, and conversations grow.

Its numbers are exact: the input of a turn is what was stored and what the request shows, and
`/responses/input_tokens` says the same for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.responses import Response, json_response
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import count

if TYPE_CHECKING:
    from tests.support.upstream import Received
    from tokenbalance.model import Document, Json

RESPONSES = find_operation("POST", b"/responses")
COUNTS = b"/v1/responses/input_tokens"
FILE_TOKENS = 5_000
"""What each file costs."""


@dataclass(eq=False)
class Remembering:
    """Answers requests for responses; give it to `ScriptedUpstream.always`."""

    output_tokens: int = 40
    """Of each response, or its limit."""
    answer: Response | None = None
    """What is said instead of the length of an input."""
    stored: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens by the id of a response, a conversation or an item."""
    inputs: list[int] = field(default_factory=list[int])
    """Tokens of the input of each response."""

    def __call__(self, received: Received) -> Response:
        """Answer a request."""
        document: Document = received.json()
        reads = self._reads(document)
        if received.target.partition(b"?")[0] == COUNTS:
            counted: Document = {"object": "response.input_tokens", "input_tokens": reads}
            return self.answer or json_response(counted)
        self.inputs.append(reads)
        limit = document.get("max_output_tokens")
        writes = min(self.output_tokens, limit) if isinstance(limit, int) else self.output_tokens
        name = f"resp_{len(self.inputs)}"
        self.stored[name] = self.stored[f"msg_{len(self.inputs)}"] = reads + writes
        conversation = _conversation_of(document)
        if conversation:
            self.stored[conversation] = reads + writes
        return json_response(_response(name, str(document["model"]), reads, writes))

    def _reads(self, document: Document) -> int:
        shown: Document = {"input": "", **document}
        tokens = count(RESPONSES, shown).known_input
        tokens += self.stored.get(str(document.get("previous_response_id")), 0)
        tokens += self.stored.get(_conversation_of(document), 0)
        tokens += str(document).count("'file_id'") * FILE_TOKENS
        items = document.get("input")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and item.get("type") == "item_reference":
                tokens += self.stored.get(str(item["id"]), 0)
        return tokens


def _conversation_of(document: Document) -> str:
    conversation = document.get("conversation") or ""
    return str(conversation["id"] if isinstance(conversation, dict) else conversation)


def _response(name: str, model: str, reads: int, writes: int) -> Document:
    output: list[Json] = [
        {
            "id": f"msg_{name.removeprefix('resp_')}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "word " * writes, "annotations": []}],
        }
    ]
    return {
        "id": name,
        "object": "response",
        "status": "completed",
        "model": f"{model}-2026-03-17",
        "output": output,
        "usage": {
            "input_tokens": reads,
            "output_tokens": writes,
            "total_tokens": reads + writes,
        },
    }

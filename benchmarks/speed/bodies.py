"""Bodies of requests: prompts of words, of a certain size, the same in every run."""

from __future__ import annotations

import json
import random
from typing import Final

MODEL: Final = "gpt-4o-mini"
EMBEDDING_MODEL: Final = "text-embedding-3-small"
_LIST_TOKENS: Final = 1000
_TOKEN_BYTES: Final = 6
"""With the comma."""
_TEXT: Final = (
    "the balance of an account is what was granted less what was used and every request that is"
    " answered takes a little of it so that people who share one key can each see how much is left"
    " for them today or tomorrow without asking anybody who happens to know where numbers are kept"
)


def chat(size: int, *, streams: bool = False) -> bytes:
    """Write a chat request whose prompt has so many bytes."""
    document: dict[str, object] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt(size)}],
    }
    return json.dumps(document | ({"stream": True} if streams else {})).encode()


def response(size: int, *, stored: bool, streams: bool = False) -> bytes:
    """Write a request for a response whose prompt has so many bytes."""
    document = {"model": MODEL, "input": prompt(size), "store": stored, "stream": streams}
    return json.dumps(document).encode()


def embeddings(size: int) -> bytes:
    """Write a request for the embedding of so many bytes."""
    return json.dumps({"model": EMBEDDING_MODEL, "input": prompt(size)}).encode()


def token_arrays(size: int) -> bytes:
    """Write a request for the embeddings of texts that the client has cut into tokens itself."""
    chance = random.Random(size)
    lists = [
        [chance.randrange(100_000) for _ in range(_LIST_TOKENS)]
        for _ in range(tokens_of(size) // _LIST_TOKENS)
    ]
    document = {"model": EMBEDDING_MODEL, "input": lists}
    return json.dumps(document, separators=(",", ": ")).encode()


def tokens_of(size: int) -> int:
    """Tell how many tokens are in so many bytes of arrays."""
    return size // (_LIST_TOKENS * _TOKEN_BYTES) * _LIST_TOKENS


def prompt(size: int) -> str:
    """Write words, with a space between."""
    chance = random.Random(size)
    words = chance.choices(_TEXT.split(), k=size // 3 + 1)
    return " ".join(words)[:size]

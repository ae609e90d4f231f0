"""Documents of requests, made by hand, and the operations that they are sent to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest

from tokenbalance.errors import (
    ProxyError,
)
from tokenbalance.model import OPENAI, UpstreamTraits
from tokenbalance.openai import find_operation
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

CHAT = find_operation("POST", b"/chat/completions")
COMPLETIONS = find_operation("POST", b"/completions")
RESPONSES = find_operation("POST", b"/responses")
EMBEDDINGS = find_operation("POST", b"/embeddings")
OPERATIONS = {f"/v1{each.path}": each for each in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)}

GATEWAY = UpstreamTraits(is_openai=False)
COMPATIBLE = UpstreamTraits(is_openai=False, knows_openai_models=False)

USER = {"role": "user", "content": "hello world"}


def chat(**fields: object) -> Document:
    return cast("Document", {"model": "gpt-4o", "messages": [USER], **fields})


def messages(*each: object) -> Document:
    return chat(messages=list(each))


def response(**fields: object) -> Document:
    return cast("Document", {"model": "gpt-4.1", "input": "hello world", **fields})


def request(**fields: object) -> Document:
    return cast("Document", fields)


def parts(*each: object) -> Document:
    return messages({"role": "user", "content": list(each)})


def refusal(endpoint: Operation, document: Document) -> tuple[type[ProxyError], str | None]:
    with pytest.raises(ProxyError) as caught:
        _ = read_document(endpoint, json.dumps(document).encode(), OPENAI)
    return type(caught.value), caught.value.param

"""Every open operation is served: the examples of the documentation get a response."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest

from tokenbalance.openai import SURFACE
from tokenbalance.openai.operation import Body
from tokenbalance.sandbox.app import create_sandbox
from tokenbalance.sandbox.sounds import wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

SAMPLES = [
    pytest.param(operation, request, id=f"{operation.method} {operation.path} {name}")
    for operation in SURFACE.described
    if operation.examples is not None
    for name, request in (operation.examples.requests or {"": None}).items()
]


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(create_sandbox(pace_s=0.0))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://sandbox/v1", headers={"authorization": "Bearer any"}
    ) as http:
        yield http


@pytest.mark.parametrize(("operation", "request_"), SAMPLES)
async def test_an_example_gets_a_response_like_that_of_the_documentation(
    http: httpx2.AsyncClient, operation: Operation, request_: Any
) -> None:
    examples = operation.examples
    assert examples is not None
    path = re.sub(r"\{(\w+)\}", lambda found: examples.parameters[found[1]], operation.path)
    response = await http.request(operation.method, path, **_content(operation, request_))
    assert response.status_code == 200, response.text
    if operation.deletes is not None and operation.deletes != "item":
        assert response.json()["deleted"] is True
    elif response.headers["content-type"] == "application/json":
        assert response.json().get("object") == examples.response.get("object")


def _content(operation: Operation, document: Any) -> dict[str, Any]:
    """Return how an example is sent: as JSON, or as a form if it has a file."""
    if document is None:
        return {}
    files = {
        name: ("sample.wav", wav(0.2)) for name, value in document.items() if _is_a_file(value)
    }
    if Body.FORM not in operation.bodies or not files:
        return {"json": document}
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and name not in files:
            members = cast("Document", value)
            fields |= {f"{name}[{inner}]": str(one) for inner, one in members.items()}
        elif name not in files:
            fields[name] = "true" if value is True else value
    return {"files": files, "data": fields}


def _is_a_file(value: object) -> bool:
    named = isinstance(value, dict) and "filename" in value
    return named or (isinstance(value, str) and value.startswith("@"))

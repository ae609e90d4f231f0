"""Nobody refers to what belongs to somebody else, in any field of a request.

Every field of an open operation that names an object is sent with an id of the caller, of another
user, and of nobody. The last two answers are the same bytes, and nothing of theirs reaches the
upstream. Kinds of objects that nobody can own are refused whoever they belong to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proxy.test_isolation import NOBODY, OTHER, OWN, Shelf, as_nobodys, names_of
from tests.proxy.test_isolation import http as http  # noqa: PLC0414 - a fixture
from tests.proxy.test_isolation import shelf as shelf  # noqa: PLC0414 - a fixture
from tests.support.object_fields import FIELDS, Field, fields_of_open_operations, filled

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream

LOOKS = {"model": "ft:gpt-4o:acme::", "voice": "voice_"}
"""How an id begins that must look like one; others may have any looks."""
ANY_KIND = ("container_file", "file", "item")
"""Which kind a reference has may depend on the object around it."""
NOBODYS_KINDS = {"tunnel"}
"""Kinds of objects that cannot be a caller's here, so that a field with one is refused."""
NOT_TAKEN = ("input[].tools[]", "items[].tools[]", "prompt", "grader.graders")
"""What is refused whatever is in it, or is no string."""
REFUSED = {"unsupported_parameter", "endpoint_not_allowed", "invalid_type"}
"""Codes of refusals that say the same whoever has the object."""


def named(kind: str, whose: str, number: int) -> str:
    return LOOKS.get(kind, "") + names_of(whose, [kind], number)[0]


async def ask(shelf: Shelf, field: Field, name: str) -> httpx2.Response:
    operation = field.operation
    sent = await shelf.body(operation)
    if field.where == "query":
        sent["params"] = {field.name: name}
    elif "json" in sent:
        sent["json"] = sent["json"] | filled(field.name, name)
    else:
        sent["data"] = sent["data"] | {field.name: name}
    path = operation.path
    for level, kind in enumerate(operation.uses):
        own = f"way_{level}"
        await shelf.put(shelf.user, kind, own)
        path = path.replace(path[path.index("{") : path.index("}") + 1], own, 1)
    return await shelf.http.request(operation.method, path, headers=shelf.user.headers, **sent)


def fault_of(told: httpx2.Response, nobodys: httpx2.Response, own: httpx2.Response) -> str:
    """What is wrong with the answers for objects of others, nobody, the caller; empty: nothing."""
    if as_nobodys(told.content) != nobodys.content:
        return f"told apart: {told.text} {nobodys.text}"
    if told.status_code == 200:
        # A list of ours, of which this is a filter.
        return f"not refused: {told.text}" if told.json()["data"] else ""
    if told.status_code == 404:
        return "" if own.status_code == 200 else f"own was refused: {own.text}"
    return "" if told.json()["error"]["code"] in REFUSED else f"not looked up: {told.text}"


@pytest.mark.skipif(not FIELDS.is_file(), reason="the list of OpenAI's operations is not at hand")
async def test_a_field_with_an_object_of_somebody_else_is_one_of_nobody(
    shelf: Shelf, upstream: ScriptedUpstream
) -> None:
    fields = fields_of_open_operations()
    faults: list[tuple[str, str, str]] = []
    refused: set[str] = set()
    for number, field in enumerate(fields):
        for kind in {field.kind, *ANY_KIND}:
            await shelf.put(shelf.other, kind, named(field.kind, OTHER, number))
            await shelf.put(shelf.user, kind, named(field.kind, OWN, number))
        before = len(upstream.requests)
        told = await ask(shelf, field, named(field.kind, OTHER, number))
        nobodys = await ask(shelf, field, named(field.kind, NOBODY, number))
        were_sent = len(upstream.requests) != before
        own = await ask(shelf, field, named(field.kind, OWN, number))
        fault = "sent upstream" if were_sent else fault_of(told, nobodys, own)
        if fault:
            faults.append((f"{field.operation.method} {field.operation.path}", field.name, fault))
        if told.status_code == 400 and not field.name.startswith(NOT_TAKEN):
            refused.add(field.kind)
    assert faults == []
    assert refused == NOBODYS_KINDS

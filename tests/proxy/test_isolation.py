"""Nobody reaches what belongs to somebody else, by any path that names an object.

Every open operation with an id in its path is asked for objects of the caller, of another user, of
nobody, and for one that was deleted. All answers but the first are the same bytes, and nothing of
theirs reaches the upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.upstream import Response
from tokenbalance.model.objects import Found
from tokenbalance.openai import OPERATIONS
from tokenbalance.openai.objects.found import kind_of_owner
from tokenbalance.openai.objects.refusal import references_of
from tokenbalance.openai.operation import Body, Operation
from tokenbalance.owners.registry import Owners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

WITH_IDS = tuple(one for one in OPERATIONS if one.uses and not one.of_models)
OWN, OTHER, NOBODY, GONE = "own", "oth", "nob", "old"
IN_VAIN = (OTHER, NOBODY, GONE)
IN_MANY = {"item", "vector_store_file"}
"""Kinds of objects that may be parts of several: what the upstream does not find there, it says."""


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    upstream.always(Response(body=b'{"object": "x"}'))
    async with (
        serving(dsn, upstream.base_url, free_per_minute=0) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as client,
    ):
        yield client


@dataclass(frozen=True)
class Shelf:
    """Objects of one user and of another, and what one of them asks for."""

    http: httpx2.AsyncClient
    owners: Owners
    user: Holder
    other: Holder

    async def put(self, holder: Holder, kind: str, name: str, parent: str | None = None) -> None:
        await self.owners.record(holder.caller, [Found(kind_of_owner(kind), name, parent)])

    async def fill(self, kinds: Sequence[str], number: int) -> None:
        """Put an object of each kind there for everybody who has one, each part of the last."""
        for whose, holder in ((OWN, self.user), (OTHER, self.other), (GONE, self.user)):
            names = names_of(whose, kinds, number)
            parents = [None, *names]
            for kind, name, parent in zip(kinds, names, parents, strict=False):
                await self.put(holder, kind, name, None if kind in IN_MANY else parent)
            if whose == GONE:
                for kind, name in reversed(list(zip(kinds, names, strict=True))):
                    known = kind_of_owner(kind)
                    _ = await self.owners.delete(holder.account_id, known, name)

    async def ask(self, operation: Operation, names: Sequence[str]) -> httpx2.Response:
        path = operation.path
        for name in names:
            path = path.replace(path[path.index("{") : path.index("}") + 1], name, 1)
        sent = await self.body(operation)
        return await self.http.request(operation.method, path, headers=self.user.headers, **sent)

    async def body(self, operation: Operation) -> dict[str, Any]:
        """A request that is valid, and whose references are the user's own."""
        assert operation.examples
        document = next(iter(operation.examples.requests.values()), None)
        if document is None or not operation.bodies:
            return {}
        for reference in references_of(operation, document):
            await self.put(self.user, reference.kind, str(reference.value))
        if Body.JSON in operation.bodies:
            return {"json": document}
        files = {
            name: ("a.pdf", b"%PDF-1.4")
            for name, value in document.items()
            if isinstance(value, str) and value.startswith("@")
        }
        return {
            "data": {name: value for name, value in document.items() if name not in files},
            "files": files,
        }


@pytest.fixture
async def shelf(http: httpx2.AsyncClient, pool: Pool) -> Shelf:
    user, other = [await create_holder(pool, 10**9) for _ in range(2)]
    return Shelf(http, Owners(pool), user, other)


def names_of(whose: str, kinds: Sequence[str], number: int) -> list[str]:
    return [f"{whose}_{number:03}_{level}" for level, _ in enumerate(kinds)]


def mixed(wholes: str, parts: str, kinds: Sequence[str], number: int) -> list[str]:
    """A path with the last id of one and the others of another."""
    return [*names_of(wholes, kinds, number)[:-1], names_of(parts, kinds, number)[-1]]


def as_nobodys(body: bytes) -> bytes:
    for whose in (OWN, OTHER, GONE):
        body = body.replace(b"%b_" % whose.encode(), b"%b_" % NOBODY.encode())
    return body


async def test_a_path_with_an_object_of_somebody_else_is_one_of_nobody(
    shelf: Shelf, upstream: ScriptedUpstream
) -> None:
    faults: list[tuple[str, str, Any]] = []
    for number, operation in enumerate(WITH_IDS):
        kinds = operation.uses
        shown = f"{operation.method} {operation.path}"
        await shelf.fill(kinds, number)
        ways = [names_of(whose, kinds, number) for whose in IN_VAIN]
        if len(kinds) > 1:
            ways += [mixed(OWN, whose, kinds, number) for whose in IN_VAIN]
            ways += [mixed(whose, OWN, kinds, number) for whose in IN_VAIN]
        before = len(upstream.requests)
        answers = [await shelf.ask(operation, names) for names in ways]
        if len(upstream.requests) != before:
            faults.append((shown, "was sent upstream", ways))
        faults += [
            (shown, "not a 404", (names, got.status_code, got.text))
            for names, got in zip(ways, answers, strict=True)
            if (got.status_code, got.json()["error"]["code"]) != (404, "not_found")
        ]
        for start in range(0, len(ways), len(IN_VAIN)):
            told = {as_nobodys(got.content) for got in answers[start : start + len(IN_VAIN)]}
            if len(told) != 1:
                faults.append((shown, "told apart", told))
        own = await shelf.ask(operation, names_of(OWN, kinds, number))
        if own.status_code != 200 or len(upstream.requests) == before:
            faults.append((shown, "own was refused", (own.status_code, own.text)))
    assert faults == []


async def test_a_part_is_found_behind_what_it_is_part_of_only(
    shelf: Shelf, upstream: ScriptedUpstream
) -> None:
    faults: list[tuple[str, str]] = []
    for number, operation in enumerate(WITH_IDS):
        kinds = operation.uses
        if len(kinds) > 1 and kinds[-1] not in IN_MANY:
            await shelf.fill(kinds, number)
            await shelf.put(shelf.user, kinds[0], f"two_{number:03}_0")
            names = [f"two_{number:03}_0", *names_of(OWN, kinds, number)[1:]]
            got = await shelf.ask(operation, names)
            if got.status_code != 404:
                faults.append((operation.path, got.text))
    assert faults == []
    assert upstream.requests == []


async def test_the_head_of_an_object_is_asked_for_as_the_object_is(
    shelf: Shelf, upstream: ScriptedUpstream
) -> None:
    reads = [one for one in WITH_IDS if one.method == "GET" and "?" not in one.path]
    for number, operation in enumerate(reads):
        await shelf.fill(operation.uses, number)
        path = operation.path
        for name in names_of(OTHER, operation.uses, number):
            path = path.replace(path[path.index("{") : path.index("}") + 1], name, 1)
        got = await shelf.http.head(path, headers=shelf.user.headers)
        assert (operation.path, got.status_code) == (operation.path, 404)
    assert upstream.requests == []

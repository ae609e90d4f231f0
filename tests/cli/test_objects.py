"""`tokenbalance objects ...`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.upstream import Received, Response, ScriptedUpstream, json_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

KEY = "sk-upstream-secret"
FILES = [{"id": f"file-{number}", "bytes": 100 * number} for number in (1, 2, 3)]
NONE = {"object": "list", "data": [], "has_more": False}


@pytest.fixture
async def upstream() -> AsyncGenerator[ScriptedUpstream]:
    """An upstream with three files on two pages, and nothing else."""

    def listed(request: Received) -> Response:
        path, _, query = request.target.decode().partition("?")
        if path != "/v1/files":
            return json_response(NONE)
        rest = FILES[2:] if "after=file-2" in query else FILES[:2]
        return json_response({"object": "list", "data": rest, "has_more": rest != FILES[2:]})

    async with ScriptedUpstream() as upstream:
        upstream.always(listed)
        yield upstream


@pytest.fixture
def shop(cli: Cli, upstream: ScriptedUpstream) -> Cli:
    """The command with an upstream, and two users."""
    cli.settings.update({"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": KEY})
    for email in ("ann@b.c", "bob@b.c"):
        assert cli("user", "create", email).code == 0
    return cli


async def test_what_is_adopted_is_listed_and_recorded(shop: Cli) -> None:
    adopted = shop.json("objects", "adopt", "ann@b.c", "file-1", "vs_1", "file-1")
    assert adopted == [
        {"id": "file-1", "kind": "file", "email": "ann@b.c"},
        {"id": "vs_1", "kind": "vector_store", "email": "ann@b.c"},
    ]
    shop.json("objects", "adopt", "ann@b.c", "odd", "--kind", "skill")
    rows: list[dict[str, Any]] = shop.json("objects", "list", "ann@b.c")
    assert [(row["id"], row["kind"], row["bytes"]) for row in rows] == [
        ("file-1", "file", None),
        ("vs_1", "vector_store", None),
        ("odd", "skill", None),
    ]
    assert [row["id"] for row in shop.json("objects", "list", "ann@b.c", "--kind", "file")] == [
        "file-1"
    ]
    assert shop.json("objects", "list", "bob@b.c") == []
    assert "vector_store" in shop("objects", "list", "ann@b.c").out
    events = shop.json("events", "list", "--event", "object.adopted")
    assert [(event["email"], event["details"]) for event in events][:1] == [
        ("ann@b.c", {"kind": "file", "object": "file-1"})
    ]


async def test_nobody_gets_what_somebody_has_and_then_nothing_is_adopted(
    shop: Cli, pool: Pool
) -> None:
    shop.json("objects", "adopt", "ann@b.c", "file-1")
    assert shop.refused("objects", "adopt", "bob@b.c", "file-2", "file-1") == (
        "Error: file-1 belongs to ann@b.c\n"
    )
    assert shop.json("objects", "list", "bob@b.c") == []
    await pool.execute("UPDATE objects SET deleted_at = now()")
    assert "belongs to ann" in shop.refused("objects", "adopt", "bob@b.c", "file-1")
    assert shop.json("objects", "list", "ann@b.c") == []
    shop.json("objects", "adopt", "ann@b.c", "file-1")
    assert len(shop.json("objects", "list", "ann@b.c")) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("adopt", "ann@b.c", "thing-1"), "'thing-1' does not tell its kind: name it with --kind"),
        (("adopt", "ann@b.c", "file-\t"), "is no id of an object"),
        (("list", "eve@b.c"), "eve@b.c"),
    ],
)
async def test_what_cannot_be_done_is_one_line(
    shop: Cli, arguments: tuple[str, ...], line: str
) -> None:
    assert line in shop.refused("objects", *arguments)


async def test_a_kind_that_is_not_known_is_wrong_usage(shop: Cli) -> None:
    assert shop("objects", "adopt", "ann@b.c", "file-1", "--kind", "thing").code == 2


async def test_the_audit_tells_what_has_no_owner_and_what_is_gone(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream
) -> None:
    shop.json("objects", "adopt", "ann@b.c", "file-1", "file-2", "cntr_9", "resp_9")
    await pool.execute("UPDATE objects SET deleted_at = now() WHERE object_id = 'file-2'")
    found = await asyncio.to_thread(shop.json, "objects", "audit")
    assert [(row["id"], row["kind"], row["bytes"], row["email"]) for row in found] == [
        ("cntr_9", "container", None, "ann@b.c"),
        ("file-2", "file", 200, "ann@b.c"),
        ("file-3", "file", 300, None),
    ]
    assert [row["problem"] for row in found] == [
        "the upstream does not have it",
        "deleted here, but the upstream has it",
        "nobody owns it",
    ]
    shown = await asyncio.to_thread(shop, "objects", "audit")
    assert shown.out.endswith("3 objects, 500 bytes\n")
    assert {request.header("authorization") for request in upstream.requests} == {f"Bearer {KEY}"}
    await pool.execute("DELETE FROM objects")
    upstream.always(json_response(NONE))
    ok = await asyncio.to_thread(shop, "objects", "audit")
    assert ok.out.startswith("ok: ")


@pytest.mark.parametrize(
    ("answer", "status", "line"),
    [
        ({}, 401, "the upstream answered GET /batches with 401"),
        ({"data": 1}, 200, "the upstream's response to GET /batches is no list"),
        ([], 200, "the upstream's response to GET /batches is no list"),
    ],
)
async def test_an_upstream_that_does_not_say_is_one_line(
    shop: Cli, upstream: ScriptedUpstream, answer: object, status: int, line: str
) -> None:
    upstream.always(json_response(answer, status))
    assert line in await asyncio.to_thread(shop.refused, "objects", "audit")

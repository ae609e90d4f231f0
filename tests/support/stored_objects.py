"""Rows for the table of objects, and a surface with lists and single objects of some kinds."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Protocol

import orjson

from tokenbalance.model.objects import Found
from tokenbalance.openai import OPERATIONS, Surface
from tokenbalance.openai.families import FREE, READ
from tokenbalance.openai.operation import Examples, Operation

if TYPE_CHECKING:
    import httpx2

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

EXAMPLES = Examples(requests={}, response={})
PATHS = {
    "chat_completion": "/chat/completions",
    "container": "/containers",
    "file": "/files",
    "vector_store": "/vector_stores",
}
LISTS = Surface(
    [
        *(one for one in OPERATIONS if not one.path.startswith(tuple(PATHS.values()))),
        *(
            Operation("GET", path, READ, "A list", lists=kind, own_examples=EXAMPLES)
            for kind, path in PATHS.items()
        ),
        *(
            Operation("GET", f"{path}/{{id}}", READ, "One", uses=(kind,), own_examples=EXAMPLES)
            for kind, path in PATHS.items()
        ),
        Operation(
            "POST",
            "/vector_stores/{id}",
            FREE,
            "Change it",
            uses=("vector_store",),
            own_examples=EXAMPLES,
        ),
    ]
)
"""The lists of some kinds, whether or not the product has them open."""
OBJECTS = {"chat_completion": "chat.completion"}
_numbers = count(1)


class Owner(Protocol):
    """Somebody with an account."""

    @property
    def account_id(self) -> int:
        """The account."""
        ...


def description(kind: str, object_id: str, **members: Json) -> dict[str, Json]:
    """Describe an object as the upstream does."""
    return {"id": object_id, "object": OBJECTS.get(kind, kind), "created_at": 1, **members}


async def store(
    pool: Pool, holder: Owner, kind: str, number: int = 1, /, **members: Json
) -> list[str]:
    """Record objects of a kind, the oldest first; returns their ids."""
    ids = [f"{kind}-{next(_numbers):05}" for _ in range(number)]
    for object_id in ids:
        await record(
            pool,
            holder,
            Found(
                kind,
                object_id,
                state=_text(members.get("status")),
                size=120,
                snapshot=orjson.dumps(description(kind, object_id, **members)).decode(),
            ),
        )
    return ids


async def record(pool: Pool, holder: Owner, found: Found) -> None:
    """Record one object, of two days ago; each is a second newer than the one before."""
    await pool.execute(
        "INSERT INTO objects (object_id, kind, account_id, state, bytes, snapshot, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6,"
        " date_trunc('day', now()) - interval '2 days' + $7 * interval '1 second')",
        found.id,
        found.kind,
        holder.account_id,
        found.state,
        found.size,
        found.snapshot,
        next(_numbers),
    )


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


async def listed(http: httpx2.AsyncClient, path: str, **query: object) -> list[str]:
    """The ids of one page."""
    response = await http.get(path, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    page = response.json()
    ids = [one["id"] for one in page["data"]]
    assert page["object"] == "list"
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids

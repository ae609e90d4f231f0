"""The plans of the statements that requests run: by which index each table is read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import asyncpg

    Node: TypeAlias = dict[str, Any]  # pyright: ignore[reportExplicitAny] - JSON

HOT: Final = (
    "FIND_CALLERS",
    "PLACE",
    "PLACE_MANY",
    "PLACE_MANY_OF_ONE",
    "SETTLE",
    "SETTLE_MANY",
    "SETTLE_MANY_OF_ONE",
    "VOID",
    "RENEW",
    "LAPSED",
    "KNOWN",
    "EXPIRE",
    "CORRECT",
    "ENDED",
    "FUNDS_OF_CALLER",
)
WHOLE: Final = "WHOLE TABLE"


async def read_plans(connection: asyncpg.Connection) -> Mapping[str, str]:
    """Return the plan of each statement that serves all its parameters, in a line each."""
    return {name: await _plan(connection, name) for name in HOT if hasattr(statements, name)}


async def _plan(connection: asyncpg.Connection, name: str) -> str:
    text: str = getattr(statements, name)
    number = max(map(int, re.findall(r"\$(\d+)", text)), default=0)
    nulls = f"({', '.join(['NULL'] * number)})" if number else ""
    await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE hot AS {text}")
    try:
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot{nulls}")
    finally:
        await connection.execute("DEALLOCATE hot")
    return ", ".join(dict.fromkeys(_ways(json.loads(plan)[0]["Plan"])))


def _ways(node: Node, table: str = "") -> Iterator[str]:
    """List how tables are read."""
    table = node.get("Relation Name", table)
    match node["Node Type"]:
        case "Seq Scan":
            yield f"{table}: {WHOLE}"
        case "Index Scan" | "Index Only Scan" | "Bitmap Index Scan":
            yield f"{table}: {node['Index Name']}{'' if 'Index Cond' in node else ' (whole)'}"
        case "Tid Scan":
            yield f"{table}: ctid"
        case _:
            pass
    for child in node.get("Plans", ()):
        yield from _ways(child, table)

"""Health: `/livez` says that the process runs, `/readyz` that it can serve, `/health` both.

The server announces its shutdown by an event `stopping` in the state of every request; a server
without that event never reports `stopping`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, cast

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    import asyncio

    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.database.connections import Pool
    from tokenbalance.owners.registry import Owners

logger = logging.getLogger(__name__)

health_router = APIRouter(tags=["Health"])


class Health(BaseModel):
    """Which parts work."""

    status: Literal["ok", "unavailable", "stopping"]
    database: Literal["ok", "unavailable"]
    journal: Literal["ok", "unavailable"]


@health_router.get("/livez")
async def livez() -> dict[str, str]:
    """Respond with 200 as long as the process runs; looks at nothing else."""
    return {"status": "ok"}


@health_router.get("/readyz", responses={503: {"model": Health}})
@health_router.get("/health", responses={503: {"model": Health}})
async def readyz(request: Request) -> JSONResponse:
    """Respond with 200 when requests can be admitted.

    The database, the journal and that of objects work, and the server is not shutting down.
    """
    database = await _state_of(cast("Pool", request.state.pool))
    leases = cast("Leases", request.state.leases)
    owners = cast("Owners", request.state.owners)
    journal = "ok" if leases.ready and owners.ready else "unavailable"
    status = "ok" if (database, journal) == ("ok", "ok") else "unavailable"
    health = Health(
        status="stopping" if _is_stopping(request) else status, database=database, journal=journal
    )
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)


async def _state_of(pool: Pool) -> Literal["ok", "unavailable"]:
    try:
        await pool.fetchval("SELECT count(*) FROM (SELECT FROM accounts LIMIT 1) AS one")
    except UNAVAILABLE as error:
        logger.warning("not ready: %s", type(error).__name__)
        return "unavailable"
    return "ok"


def _is_stopping(request: Request) -> bool:
    stopping = cast("asyncio.Event | None", getattr(request.state, "stopping", None))
    return stopping is not None and stopping.is_set()

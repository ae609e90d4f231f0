"""Health: `/livez` says that the process runs, `/readyz` that it can serve, `/health` both."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, cast

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

logger = logging.getLogger(__name__)

health_router = APIRouter(tags=["Health"])


class Health(BaseModel):
    """What works."""

    status: Literal["ok", "unavailable"]
    database: Literal["ok", "unavailable"]


@health_router.get("/livez")
async def livez() -> dict[str, str]:
    """Answer as long as the process runs; asks nobody else."""
    return {"status": "ok"}


@health_router.get("/readyz", responses={503: {"model": Health}})
@health_router.get("/health", responses={503: {"model": Health}})
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 when requests can be admitted: the database answers."""
    pool = cast("Pool", request.state.pool)
    try:
        await pool.fetchval("SELECT count(*) FROM (SELECT FROM accounts LIMIT 1) AS one")
    except UNAVAILABLE as error:
        logger.warning("not ready: %s", type(error).__name__)
        return JSONResponse(Health(status="unavailable", database="unavailable").model_dump(), 503)
    return JSONResponse(Health(status="ok", database="ok").model_dump())

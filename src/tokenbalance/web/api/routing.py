"""How every management route is served, and how it fails.

    path      with and without a trailing slash, by the same route: a redirect would lose the body
    query     only known parameters, each once
    response  never cached
    errors    of people and books as in `domain`; 503 if the database is unavailable

Knows no route.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

from fastapi import APIRouter
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.routing import Match
from typing_extensions import override

from tokenbalance.database.connections import is_unavailable
from tokenbalance.errors import InvalidValue, ServiceUnavailable
from tokenbalance.web.api.domain import response_to
from tokenbalance.web.api.refusals import shown, unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    Handler = Callable[[Request], Coroutine[object, object, Response]]

logger = logging.getLogger(__name__)

NO_STORE = "no-store"


_ADDRESSES: Final = set[str]()
"""Of routes without parameters: none of them is the parameter of another route."""


class ApiRoute(APIRoute):
    """One management route."""

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = cast("str", scope["path"]).removesuffix("/")
        if path in _ADDRESSES and path != self.path:
            return Match.NONE, {}
        return super().matches({**scope, "path": path})

    @override
    def get_route_handler(self) -> Handler:
        if "{" not in self.path:
            _ADDRESSES.add(self.path)
        handle = super().get_route_handler()
        taken = {field.alias for field in get_flat_params(self.dependant)}

        async def respond(request: Request) -> Response:
            _refuse_unknown_query(request, taken)
            try:
                response = await handle(request)
            except Exception as error:
                if (known := response_to(error)) is not None:
                    raise known from error
                if is_unavailable(error):
                    logger.warning("the database is unavailable: %s", type(error).__name__)
                    msg = "The database is unavailable"
                    raise ServiceUnavailable(msg) from error
                raise
            response.headers["cache-control"] = NO_STORE
            return response

        return respond


def api_router(tag: str) -> APIRouter:
    """Make a router of management routes below `/api`.

    Args:
        tag: their section in the documentation.

    """
    return APIRouter(prefix="/api", tags=[tag], route_class=ApiRoute, redirect_slashes=False)


def _refuse_unknown_query(request: Request, taken: set[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in taken:
            raise unknown_parameter(name)
        if names.count(name) > 1:
            msg = f"Invalid '{shown(name)}': given more than once."
            raise InvalidValue(msg, param=shown(name))

"""Scripts and styles of the pages, from package data, which browsers may cache forever.

Their addresses change with their content, so that a release never uses the styles of another.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

ASSETS: Final = "/panel/assets"
FOLDER: Final = Path(__file__).parent / "static"

_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Assets(StaticFiles):
    """The files, with an ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Respond with a file that may be cached."""
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def asset(name: str) -> str:
    """The address of a file.

    Raises:
        KeyError: no file has this name.

    """
    return f"{ASSETS}/{name}?v={_VERSIONS[name]}"


def _versions() -> dict[str, str]:
    return {
        path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in FOLDER.rglob("*")
        if path.is_file()
    }


_VERSIONS: Final = _versions()

"""Examples of containers and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, bytes_at, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_CONTAINER_ID: Final = "cntr_123"
_FILE_ID: Final = "cfile_123"
_CONTAINER: Final[Document] = {
    "id": _CONTAINER_ID,
    "object": "container",
    "created_at": CREATED,
    "status": "running",
    "name": "charts",
    "memory_limit": "1g",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": CREATED,
}
_FILE: Final[Document] = {
    "id": _FILE_ID,
    "object": "container.file",
    "created_at": CREATED,
    "bytes": 120000,
    "container_id": _CONTAINER_ID,
    "path": "/mnt/data/report.pdf",
    "source": "user",
}
_AT_CONTAINER: Final = {"container_id": _CONTAINER_ID}
_AT_FILE: Final = {**_AT_CONTAINER, "file_id": _FILE_ID}

CONTAINERS: Final = read(page_of(_CONTAINER))
CONTAINER: Final = read(_CONTAINER, _AT_CONTAINER)
DELETED_CONTAINER: Final = bytes_at(_AT_CONTAINER)
CONTAINER_FILES: Final = read(page_of(_FILE), _AT_CONTAINER)
NEW_CONTAINER_FILE: Final = Examples(
    {
        "A file that is stored already": {"file_id": "file-123"},
        "A file with the request": {"file": "@report.pdf"},
    },
    _FILE,
    parameters=_AT_CONTAINER,
)
CONTAINER_FILE: Final = read(_FILE, _AT_FILE)
DELETED_CONTAINER_FILE: Final = bytes_at(_AT_FILE)
CONTAINER_FILE_CONTENT: Final = bytes_at(_AT_FILE)

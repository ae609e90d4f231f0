"""Examples of files and uploads. A file in a form is written as `curl -F` takes it: `@name`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, bytes_at, deleted, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_FILE_ID: Final = "file-123"
_UPLOAD_ID: Final = "upload_123"
_PART_ID: Final = "part_123"
_FILE: Final[Document] = {
    "id": _FILE_ID,
    "object": "file",
    "bytes": 120000,
    "created_at": CREATED,
    "expires_at": None,
    "filename": "report.pdf",
    "purpose": "user_data",
    "status": "processed",
}
_UPLOAD: Final[Document] = {
    "id": _UPLOAD_ID,
    "object": "upload",
    "bytes": 120000,
    "created_at": CREATED,
    "expires_at": CREATED + 3600,
    "filename": "report.pdf",
    "purpose": "user_data",
    "status": "pending",
    "file": None,
}
_AT_FILE: Final = {"file_id": _FILE_ID}
_AT_UPLOAD: Final = {"upload_id": _UPLOAD_ID}

FILES: Final = read(page_of(_FILE))
NEW_FILE: Final = Examples(
    {
        "For the input of a model": {"purpose": "user_data", "file": "@report.pdf"},
        "Deleted after an hour": {
            "purpose": "user_data",
            "expires_after": {"anchor": "created_at", "seconds": 3600},
            "file": "@report.pdf",
        },
    },
    _FILE,
)
FILE: Final = read(_FILE, _AT_FILE)
DELETED_FILE: Final = read(deleted(_FILE_ID, "file"), _AT_FILE)
FILE_CONTENT: Final = bytes_at(_AT_FILE)
NEW_UPLOAD: Final = Examples(
    {
        "Of one file": {
            "purpose": "user_data",
            "filename": "report.pdf",
            "bytes": 120000,
            "mime_type": "application/pdf",
        }
    },
    _UPLOAD,
)
NEW_PART: Final = Examples(
    {"One part": {"data": "@report.pdf.part1"}},
    {"id": _PART_ID, "object": "upload.part", "created_at": CREATED, "upload_id": _UPLOAD_ID},
    parameters=_AT_UPLOAD,
)
COMPLETED_UPLOAD: Final = Examples(
    {"Its parts in order": {"part_ids": [_PART_ID]}},
    {**_UPLOAD, "status": "completed", "file": _FILE},
    parameters=_AT_UPLOAD,
)
CANCELLED_UPLOAD: Final = read({**_UPLOAD, "status": "cancelled"}, _AT_UPLOAD)

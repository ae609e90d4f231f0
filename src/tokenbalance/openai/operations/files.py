"""Files and uploads."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import files as examples
from tokenbalance.openai.families import FORM, FREE, READ
from tokenbalance.openai.operation import Answer, Operation

FILES: Final = (
    Operation(
        "GET",
        "/files",
        READ,
        "Files",
        lists="file",
        query=("after", "limit", "order", "purpose"),
        own_examples=examples.FILES,
    ),
    Operation(
        "POST",
        "/files",
        FORM,
        "Upload a file",
        own_creates=("file:$.id",),
        own_examples=examples.NEW_FILE,
    ),
    Operation(
        "GET", "/files/{file_id}", READ, "One file", uses=("file",), own_examples=examples.FILE
    ),
    Operation(
        "DELETE",
        "/files/{file_id}",
        READ,
        "Delete a file",
        uses=("file",),
        deletes="file",
        own_examples=examples.DELETED_FILE,
    ),
    Operation(
        "GET",
        "/files/{file_id}/content",
        READ,
        "Download a file",
        uses=("file",),
        answer=Answer.BYTES,
        own_examples=examples.FILE_CONTENT,
    ),
    Operation(
        "POST",
        "/uploads",
        FREE,
        "Begin an upload in parts",
        own_creates=("upload:$.id",),
        own_examples=examples.NEW_UPLOAD,
    ),
    Operation(
        "POST",
        "/uploads/{upload_id}/parts",
        FORM,
        "Upload a part",
        uses=("upload",),
        own_creates=("upload_part:$.id",),
        own_examples=examples.NEW_PART,
    ),
    Operation(
        "POST",
        "/uploads/{upload_id}/complete",
        FREE,
        "Make a file of the parts of an upload",
        uses=("upload",),
        own_creates=("file:$.file.id",),
        own_examples=examples.COMPLETED_UPLOAD,
    ),
    Operation(
        "POST",
        "/uploads/{upload_id}/cancel",
        READ,
        "Cancel an upload",
        uses=("upload",),
        own_examples=examples.CANCELLED_UPLOAD,
    ),
)

"""`/files`: uploads of whole files, and their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.fields import invalid_value
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Content, Whole, deleted, new_file_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept
    from tokenbalance.sandbox.replies import Reply

LISTED_MAX: Final = 10_000
BATCH_LIFETIME_S: Final = 30 * 24 * 3600
_PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


def file_document(
    name: str, filename: str, size: int, purpose: str, expires: int | None
) -> Document:
    """Describe a file."""
    return {
        "id": name,
        "object": "file",
        "bytes": size,
        "created_at": now(),
        "expires_at": expires,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


def example_file(name: str) -> Document:
    """Describe the file of an id of the documentation."""
    return file_document(name, "mydata.jsonl", 120_000, "user_data", None)


def required_purpose(call: Call) -> str:
    """Return what a new file is for.

    Raises:
        ApiError: the request does not say it, or OpenAI knows no such purpose.
    """
    purpose = call.fields.required_text("purpose")
    if purpose not in _PURPOSES:
        raise invalid_value("purpose", purpose, _PURPOSES)
    return purpose


def keep_file(call: Call, filename: str, size: int, data: bytes) -> Kept:
    """Keep a new file, with the purpose and lifetime of the request."""
    purpose = call.fields.text("purpose") or "user_data"
    document = file_document(new_file_id(), filename, size, purpose, expiry(call, purpose))
    return call.memory.keep("file", document, data=data)


def expiry(call: Call, purpose: str) -> int | None:
    """When a file expires, by `expires_after` or by its purpose; None: never."""
    after = call.fields.within("expires_after").value("seconds")
    if after is None and purpose == "batch":
        after = BATCH_LIFETIME_S
    seconds = int(after) if isinstance(after, int | str) and str(after).isdigit() else None
    return None if seconds is None else now() + seconds


def content_of(kept: Kept) -> Content:
    """Send the content of a file."""
    filename = str(kept.document.get("filename", kept.id))
    return Content(kept.data, "application/octet-stream", filename)


def _create(call: Call) -> Whole:
    _ = required_purpose(call)
    file = call.required_file("file")
    return Whole(keep_file(call, file.filename, file.size, file.data).document)


def _list(call: Call) -> Whole:
    purpose = call.query.get("purpose")
    kept = [one.document for one in call.memory.every("file")]
    shown = [one for one in kept if purpose is None or one["purpose"] == purpose]
    return page_of(shown, call.query, page=LISTED_MAX, page_max=LISTED_MAX)


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _content(call: Call) -> Reply:
    return content_of(_named(call))


def _delete(call: Call) -> Whole:
    kept = _named(call)
    call.memory.drop(kept)
    return deleted(kept.id, "file")


def _named(call: Call) -> Kept:
    return call.named("file", "file_id", example_file)


FILES: Final[Mapping[str, Endpoint]] = {
    "POST /files": _create,
    "GET /files": _list,
    "GET /files/{file_id}": _retrieve,
    "DELETE /files/{file_id}": _delete,
    "GET /files/{file_id}/content": _content,
}

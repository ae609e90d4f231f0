"""`/uploads`: files that come in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import ApiError
from tokenbalance.sandbox.files import expiry, file_document, required_purpose
from tokenbalance.sandbox.memory import is_example
from tokenbalance.sandbox.replies import Whole, new_file_id, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.memory import Kept

UPLOAD_BYTES_MAX: Final = 8 * 1024**3
LIFETIME_S: Final = 3600


def _upload(name: str, filename: str, size: int, purpose: str) -> Document:
    return {
        "id": name,
        "object": "upload",
        "bytes": size,
        "created_at": now(),
        "expires_at": now() + LIFETIME_S,
        "filename": filename,
        "purpose": purpose,
        "status": "pending",
        "file": None,
    }


def _example(name: str) -> Document:
    return _upload(name, "training_examples.jsonl", 0, "fine-tune")


def _create(call: Call) -> Whole:
    fields = call.fields
    size = fields.integer("bytes", 0, UPLOAD_BYTES_MAX) or 0
    filename, purpose = fields.required_text("filename"), required_purpose(call)
    _ = fields.required_text("mime_type")
    document = _upload(new_id("upload_"), filename, size, purpose)
    lasts = expiry(call, purpose)
    kept = call.memory.keep("upload", document)
    if lasts is not None:
        _ = call.memory.keep("lifetime", {"id": kept.id, "expires_at": lasts}, parent=kept.id)
    return Whole(document)


def _add_part(call: Call) -> Whole:
    upload = _pending(call)
    data = call.required_file("data").data
    part: Document = {
        "id": new_id("part_"),
        "object": "upload.part",
        "created_at": now(),
        "upload_id": upload.id,
    }
    return Whole(call.memory.keep("upload_part", part, parent=upload.id, data=data).document)


def _complete(call: Call) -> Whole:
    upload = _pending(call)
    parts = [_part(call, upload, name) for name in call.fields.strings("part_ids")]
    data = b"".join(part.data for part in parts if part is not None)
    said = upload.document["bytes"]
    if None not in parts and len(data) != said:
        message = f"Expected {said} bytes in the parts of the upload, but got {len(data)}."
        raise ApiError(message, param="part_ids")
    file = _file_of(call, upload, data)
    return Whole(call.memory.change(upload, status="completed", file=file).document)


def _file_of(call: Call, upload: Kept, data: bytes) -> Document:
    document = upload.document
    lifetime = call.memory.find("lifetime", upload.id, upload.id)
    expires = None if lifetime is None else lifetime.document["expires_at"]
    file = file_document(
        new_file_id(),
        str(document["filename"]),
        len(data),
        str(document["purpose"]),
        expires if isinstance(expires, int) else None,
    )
    return call.memory.keep("file", file, data=data).document


def _part(call: Call, upload: Kept, name: str) -> Kept | None:
    """Return a part; None for an id of the documentation."""
    part = call.memory.find("upload_part", name, upload.id)
    if part is None and not is_example(name):
        message = f"Part '{name}' is not one of this upload."
        raise ApiError(message, param="part_ids")
    return part


def _cancel(call: Call) -> Whole:
    return Whole(call.memory.change(_pending(call), status="cancelled").document)


def _pending(call: Call) -> Kept:
    upload = call.named("upload", "upload_id", _example)
    state = upload.document["status"]
    if state != "pending":
        raise ApiError(f"Upload has status '{state}' and cannot be changed.", param="upload_id")
    return upload


UPLOADS: Final[Mapping[str, Endpoint]] = {
    "POST /uploads": _create,
    "POST /uploads/{upload_id}/parts": _add_part,
    "POST /uploads/{upload_id}/complete": _complete,
    "POST /uploads/{upload_id}/cancel": _cancel,
}

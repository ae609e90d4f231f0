"""`/containers` and the files in them. Nothing runs in a container here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.files import content_of, example_file
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Content, Whole, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.fields import Fields
    from tokenbalance.sandbox.memory import Kept
    from tokenbalance.sandbox.replies import Reply

LIFETIME_MINUTES: Final = 20
_FOLDER: Final = "/mnt/data/"


def _container(name: str, title: str, minutes: int = LIFETIME_MINUTES) -> Document:
    return {
        "id": name,
        "object": "container",
        "created_at": now(),
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": minutes},
        "last_active_at": now(),
        "memory_limit": "1g",
        "name": title,
    }


def _example(name: str) -> Document:
    return _container(name, "My Container")


def _file(name: str, container: str, path: str, size: int, source: str) -> Document:
    return {
        "id": name,
        "object": "container.file",
        "created_at": now(),
        "bytes": size,
        "container_id": container,
        "path": path,
        "source": source,
    }


def new_container(call: Call, fields: Fields, title: str = "auto") -> Kept:
    """Make a container with the memory, the lifetime and the files that some fields name."""
    minutes = fields.within("expires_after").integer("minutes", 1, 24 * 60)
    document = _container(new_id("cntr_"), title, minutes or LIFETIME_MINUTES)
    document["memory_limit"] = fields.text("memory_limit") or "1g"
    container = call.memory.keep("container", document)
    for name in fields.strings("file_ids"):
        _ = _copy(call, container, name)
    return container


def container_named(call: Call, name: str) -> Kept:
    """Return the container of an id.

    Raises:
        ApiError: it does not exist.
    """
    container = call.memory.found_or_example("container", name, _example)
    if container is None:
        raise no_such_object("container", name)
    return container


def write_file(call: Call, container: Kept, filename: str, data: bytes) -> Document:
    """Keep a file that a model has written in a container."""
    document = _file(new_id("cfile_"), container.id, _FOLDER + filename, len(data), "assistant")
    return call.memory.keep("container_file", document, parent=container.id, data=data).document


def _create(call: Call) -> Whole:
    return Whole(new_container(call, call.fields, call.fields.required_text("name")).document)


def _list(call: Call) -> Whole:
    title = call.query.get("name")
    kept = [one.document for one in call.memory.every("container")]
    return page_of([one for one in kept if title is None or one["name"] == title], call.query)


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _delete(call: Call) -> Whole:
    container = _named(call)
    call.memory.drop(container)
    return Whole({"id": container.id, "object": "container.deleted", "deleted": True})


def _add_file(call: Call) -> Whole:
    container = _named(call)
    if call.files:
        file = call.required_file("file")
        return _keep(call, container, file.filename, file.size, file.data)
    return _copy(call, container, call.fields.required_text("file_id"))


def _copy(call: Call, container: Kept, name: str) -> Whole:
    """Copy one of the files of `/files`."""
    source = call.memory.found_or_example("file", name, example_file)
    if source is None:
        raise no_such_object("file", name)
    size = source.document["bytes"]
    filename = str(source.document["filename"])
    return _keep(call, container, filename, size if isinstance(size, int) else 0, source.data)


def _keep(call: Call, container: Kept, filename: str, size: int, data: bytes) -> Whole:
    document = _file(new_id("cfile_"), container.id, _FOLDER + filename, size, "user")
    return Whole(
        call.memory.keep("container_file", document, parent=container.id, data=data).document
    )


def _list_files(call: Call) -> Whole:
    files = call.memory.every("container_file", _named(call).id)
    return page_of([one.document for one in files], call.query)


def _retrieve_file(call: Call) -> Whole:
    return Whole(_named_file(call).document)


def _delete_file(call: Call) -> Whole:
    file = _named_file(call)
    call.memory.drop(file)
    return Whole({"id": file.id, "object": "container.file.deleted", "deleted": True})


def _content(call: Call) -> Reply:
    sent = content_of(_named_file(call))
    return Content(sent.data, sent.media_type)


def _named(call: Call) -> Kept:
    return call.named("container", "container_id", _example)


def _named_file(call: Call) -> Kept:
    container = _named(call).id

    def example(name: str) -> Document:
        return _file(name, container, f"{_FOLDER}example.txt", 0, "assistant")

    return call.named("container_file", "file_id", example, container)


CONTAINERS: Final[Mapping[str, Endpoint]] = {
    "POST /containers": _create,
    "GET /containers": _list,
    "GET /containers/{container_id}": _retrieve,
    "DELETE /containers/{container_id}": _delete,
    "POST /containers/{container_id}/files": _add_file,
    "GET /containers/{container_id}/files": _list_files,
    "GET /containers/{container_id}/files/{file_id}": _retrieve_file,
    "DELETE /containers/{container_id}/files/{file_id}": _delete_file,
    "GET /containers/{container_id}/files/{file_id}/content": _content,
}

"""Containers and their files."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import containers as examples
from tokenbalance.openai.examples.sessions import NEW_CONTAINER_EXAMPLES
from tokenbalance.openai.families import CONTAINER_SESSIONS, FORM_OR_JSON, READ
from tokenbalance.openai.operation import Answer, Operation

_PAGE: Final = ("after", "limit", "order")

CONTAINERS: Final = (
    Operation(
        "POST",
        "/containers",
        CONTAINER_SESSIONS,
        "New container",
        own_creates=("container:$.id",),
        own_examples=NEW_CONTAINER_EXAMPLES,
    ),
    Operation(
        "GET",
        "/containers",
        READ,
        "Containers",
        lists="container",
        query=(*_PAGE, "name"),
        own_examples=examples.CONTAINERS,
    ),
    Operation(
        "GET",
        "/containers/{container_id}",
        READ,
        "One container",
        uses=("container",),
        own_examples=examples.CONTAINER,
    ),
    Operation(
        "DELETE",
        "/containers/{container_id}",
        READ,
        "Delete a container",
        uses=("container",),
        deletes="container",
        answer=Answer.NOTHING,
        own_examples=examples.DELETED_CONTAINER,
    ),
    Operation(
        "GET",
        "/containers/{container_id}/files",
        READ,
        "Files of a container",
        uses=("container",),
        lists="container_file",
        query=_PAGE,
        own_derived=("container_file:$.data[].id",),
        own_examples=examples.CONTAINER_FILES,
    ),
    Operation(
        "POST",
        "/containers/{container_id}/files",
        FORM_OR_JSON,
        "Put a file into a container",
        uses=("container",),
        own_creates=("container_file:$.id",),
        own_examples=examples.NEW_CONTAINER_FILE,
    ),
    Operation(
        "GET",
        "/containers/{container_id}/files/{file_id}",
        READ,
        "One file of a container",
        uses=("container", "container_file"),
        own_examples=examples.CONTAINER_FILE,
    ),
    Operation(
        "DELETE",
        "/containers/{container_id}/files/{file_id}",
        READ,
        "Delete a file of a container",
        uses=("container", "container_file"),
        deletes="container_file",
        answer=Answer.NOTHING,
        own_examples=examples.DELETED_CONTAINER_FILE,
    ),
    Operation(
        "GET",
        "/containers/{container_id}/files/{file_id}/content",
        READ,
        "Download a file of a container",
        uses=("container", "container_file"),
        answer=Answer.BYTES,
        own_examples=examples.CONTAINER_FILE_CONTENT,
    ),
)

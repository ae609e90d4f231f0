"""`/skills`: folders of files with a `SKILL.md`, and their versions."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.faults import ApiError, no_such_object
from tokenbalance.sandbox.fields import missing
from tokenbalance.sandbox.lists import page_of
from tokenbalance.sandbox.replies import Content, Whole, deleted, new_id, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Attachment, Call, Endpoint
    from tokenbalance.sandbox.memory import Kept
    from tokenbalance.sandbox.replies import Reply

_VERSION: Final = "skill_version"
_HEAD_LINES: Final = 20
_ZIP: Final = "application/zip"


def _skill(name: str, title: str = "my-skill", description: str = "") -> Document:
    return {
        "id": name,
        "object": "skill",
        "created_at": now(),
        "name": title,
        "description": description,
        "default_version": "1",
        "latest_version": "1",
    }


def _version(skill: Document, number: str) -> Document:
    return {
        "id": new_id("skillver_"),
        "object": "skill.version",
        "created_at": now(),
        "skill_id": skill["id"],
        "version": number,
        "name": skill["name"],
        "description": skill["description"],
    }


def _create(call: Call) -> Whole:
    data = _archive(call)
    facts = _facts(data)
    title, description = facts.get("name", "skill"), facts.get("description", "")
    skill = call.memory.keep("skill", _skill(new_id("skill_"), title, description))
    _ = _keep_version(call, skill, "1", data)
    return Whole(skill.document)


def _keep_version(call: Call, skill: Kept, number: str, data: bytes) -> Document:
    document = _version(skill.document, number)
    row: Document = {"id": number, "document": document}
    _ = call.memory.keep(_VERSION, row, parent=skill.id, data=data)
    return document


def _archive(call: Call) -> bytes:
    """Return the files of a request as one archive."""
    files = call.files.get("files", ())
    if not files:
        # The SDKs' own tests send none.
        if call.fields.document:
            raise missing("files")
        return _zipped(())
    if len(files) == 1 and zipfile.is_zipfile(io.BytesIO(files[0].data)):
        return files[0].data
    return _zipped(files)


def _zipped(files: Sequence[Attachment]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for file in files:
            writer.writestr(file.filename, file.data)
    return archive.getvalue()


def _facts(data: bytes) -> dict[str, str]:
    """Return the front matter of an archive's `SKILL.md`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next((one for one in archive.namelist() if one.endswith("SKILL.md")), None)
        text = "" if name is None else archive.read(name).decode("utf-8", "replace")
    lines = [line.partition(":") for line in text.splitlines()[:_HEAD_LINES]]
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def _list(call: Call) -> Whole:
    return page_of([one.document for one in call.memory.every("skill")], call.query)


def _retrieve(call: Call) -> Whole:
    return Whole(_named(call).document)


def _update(call: Call) -> Whole:
    number = call.fields.required_text("default_version")
    return Whole(call.memory.change(_named(call), default_version=number).document)


def _delete(call: Call) -> Whole:
    skill = _named(call)
    call.memory.drop(skill)
    return deleted(skill.id, "skill.deleted")


def _content(call: Call) -> Reply:
    skill = _named(call)
    default = str(skill.document["default_version"])
    version = call.memory.find(_VERSION, default, skill.id)
    return Content(_zipped(()) if version is None else version.data, _ZIP)


def _create_version(call: Call) -> Whole:
    skill = _named(call)
    number = str(len(call.memory.every(_VERSION, skill.id)) + 1)
    document = _keep_version(call, skill, number, _archive(call))
    changes = {"latest_version": number}
    if call.fields.value("default") is True:
        changes["default_version"] = number
    _ = call.memory.change(skill, **changes)
    return Whole(document)


def _list_versions(call: Call) -> Whole:
    kept = call.memory.every(_VERSION, _named(call).id)
    return page_of([_shown(one) for one in kept], call.query)


def _shown(version: Kept) -> Document:
    document = version.document["document"]
    return document if isinstance(document, dict) else {}


def _retrieve_version(call: Call) -> Whole:
    return Whole(_shown(_named_version(call)))


def _delete_version(call: Call) -> Whole:
    version = _named_version(call)
    skill = call.memory.find("skill", _named(call).id)
    if skill is not None and version.id == skill.document["default_version"]:
        message = "The default version of a skill cannot be deleted."
        raise ApiError(message, param="version")
    call.memory.drop(version)
    return Whole(
        {
            "id": _shown(version)["id"],
            "object": "skill.version.deleted",
            "deleted": True,
            "version": version.id,
        }
    )


def _version_content(call: Call) -> Reply:
    return Content(_named_version(call).data or _zipped(()), _ZIP)


def _named(call: Call) -> Kept:
    return call.named("skill", "skill_id", _skill)


def _named_version(call: Call) -> Kept:
    skill = _named(call)
    number = call.path["version"]
    kept = call.memory.find(_VERSION, number, skill.id)
    if kept is None and call.memory.find("skill", skill.id) is None:
        # A skill of the documentation has every version.
        return call.named(
            _VERSION,
            "version",
            lambda name: {"id": name, "document": _version(skill.document, name)},
            skill.id,
        )
    if kept is None:
        raise no_such_object(_VERSION, number)
    return kept


SKILLS: Final[Mapping[str, Endpoint]] = {
    "POST /skills": _create,
    "GET /skills": _list,
    "GET /skills/{skill_id}": _retrieve,
    "POST /skills/{skill_id}": _update,
    "DELETE /skills/{skill_id}": _delete,
    "GET /skills/{skill_id}/content": _content,
    "POST /skills/{skill_id}/versions": _create_version,
    "GET /skills/{skill_id}/versions": _list_versions,
    "GET /skills/{skill_id}/versions/{version}": _retrieve_version,
    "DELETE /skills/{skill_id}/versions/{version}": _delete_version,
    "GET /skills/{skill_id}/versions/{version}/content": _version_content,
}

"""Examples of skills and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, bytes_at, deleted, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_SKILL_ID: Final = "skill_123"
_VERSION_ID: Final = "skillver_123"
_NAMED: Final[Document] = {"name": "charts", "description": "Draws charts from tables."}
_SKILL: Final[Document] = {
    "id": _SKILL_ID,
    "object": "skill",
    "created_at": CREATED,
    "default_version": "1",
    "latest_version": "1",
    **_NAMED,
}
_VERSION: Final[Document] = {
    "id": _VERSION_ID,
    "object": "skill.version",
    "created_at": CREATED,
    "skill_id": _SKILL_ID,
    "version": "1",
    **_NAMED,
}
_AT_SKILL: Final = {"skill_id": _SKILL_ID}
_AT_VERSION: Final = {**_AT_SKILL, "version": "1"}
_FILES: Final[Document] = {"files": "@charts.zip"}

SKILLS: Final = read(page_of(_SKILL))
NEW_SKILL: Final = Examples({"A zip file": _FILES}, _SKILL)
SKILL: Final = read(_SKILL, _AT_SKILL)
CHANGED_SKILL: Final = Examples(
    {"Its default version": {"default_version": "1"}}, _SKILL, parameters=_AT_SKILL
)
DELETED_SKILL: Final = read(deleted(_SKILL_ID, "skill.deleted"), _AT_SKILL)
SKILL_CONTENT: Final = bytes_at(_AT_SKILL)
VERSIONS: Final = read(page_of(_VERSION), _AT_SKILL)
NEW_VERSION: Final = Examples(
    {"The new default": {**_FILES, "default": "true"}}, _VERSION, parameters=_AT_SKILL
)
VERSION: Final = read(_VERSION, _AT_VERSION)
DELETED_VERSION: Final = read(
    {**deleted(_VERSION_ID, "skill.version.deleted"), "version": "1"}, _AT_VERSION
)
VERSION_CONTENT: Final = bytes_at(_AT_VERSION)

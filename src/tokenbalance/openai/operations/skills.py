"""Skills and their versions. A version is named by its number, which only its skill makes an id."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import skills as examples
from tokenbalance.openai.families import FORM, FREE, READ
from tokenbalance.openai.operation import Answer, Operation

_PAGE: Final = ("after", "limit", "order")

SKILLS: Final = (
    Operation(
        "GET", "/skills", READ, "Skills", lists="skill", query=_PAGE, own_examples=examples.SKILLS
    ),
    Operation(
        "POST",
        "/skills",
        FORM,
        "Upload a skill",
        own_creates=("skill:$.id",),
        own_examples=examples.NEW_SKILL,
    ),
    Operation(
        "GET", "/skills/{skill_id}", READ, "One skill", uses=("skill",), own_examples=examples.SKILL
    ),
    Operation(
        "POST",
        "/skills/{skill_id}",
        FREE,
        "Change a skill",
        uses=("skill",),
        own_examples=examples.CHANGED_SKILL,
    ),
    Operation(
        "DELETE",
        "/skills/{skill_id}",
        READ,
        "Delete a skill",
        uses=("skill",),
        deletes="skill",
        own_examples=examples.DELETED_SKILL,
    ),
    Operation(
        "GET",
        "/skills/{skill_id}/content",
        READ,
        "Download a skill",
        uses=("skill",),
        answer=Answer.BYTES,
        own_examples=examples.SKILL_CONTENT,
    ),
    Operation(
        "GET",
        "/skills/{skill_id}/versions",
        READ,
        "Versions of a skill",
        uses=("skill",),
        lists="skill_version",
        query=_PAGE,
        own_derived=("skill_version:$.data[].id",),
        own_examples=examples.VERSIONS,
    ),
    Operation(
        "POST",
        "/skills/{skill_id}/versions",
        FORM,
        "Upload a version of a skill",
        uses=("skill",),
        own_creates=("skill_version:$.id",),
        own_examples=examples.NEW_VERSION,
    ),
    Operation(
        "GET",
        "/skills/{skill_id}/versions/{version}",
        READ,
        "One version of a skill",
        uses=("skill", "skill_version"),
        own_examples=examples.VERSION,
    ),
    Operation(
        "DELETE",
        "/skills/{skill_id}/versions/{version}",
        READ,
        "Delete a version of a skill",
        uses=("skill", "skill_version"),
        deletes="skill_version",
        own_examples=examples.DELETED_VERSION,
    ),
    Operation(
        "GET",
        "/skills/{skill_id}/versions/{version}/content",
        READ,
        "Download a version of a skill",
        uses=("skill", "skill_version"),
        answer=Answer.BYTES,
        own_examples=examples.VERSION_CONTENT,
    ),
)

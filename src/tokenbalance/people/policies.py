"""From the limits that are stored for a key, its payer and its group to the policy of its requests.

Pure: it reads what is stored and decides nothing.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson

from tokenbalance.model.limits import (
    ACCOUNT,
    COUNTED,
    END,
    EndUsers,
    Policy,
    Rules,
    subject_of_key,
    subject_of_member,
    subject_of_project,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    _Limits: TypeAlias = Mapping[str, int | list[str]]
    _Stored: TypeAlias = Mapping[str, _Limits | str | int | None]

_CACHED: Final = 8192
_RULES: Final = tuple(field.name for field in fields(Rules) if field.name != "subject")


@lru_cache(_CACHED)
def policy_of(key_id: int, version: int, stored: str) -> Policy:
    """Read the policy of a key.

    Args:
        key_id: which key.
        version: of everything that limits it.
        stored: the limits of the key, its member, project and account, and of its end users, as
            they are stored, as JSON.

    """
    limits = cast("_Stored", orjson.loads(stored))
    of_subjects = {subject_of_key(key_id): cast("_Limits", limits["key"])}
    if limits["member"] is not None:
        member = subject_of_member(cast("int", limits["member"]))
        of_subjects[member] = cast("_Limits", limits["of_member"] or {})
    if limits["project"] is not None:
        project = subject_of_project(cast("int", limits["project"]))
        of_subjects[project] = cast("_Limits", limits["of_project"])
    of_subjects[ACCOUNT] = cast("_Limits", limits["account"])
    return Policy(
        version,
        tuple(of_subjects),
        tuple(
            _rules_of(subject, of_subject)
            for subject, of_subject in of_subjects.items()
            if not of_subject.keys().isdisjoint(_RULES)
        ),
        _end_users(limits),
    )


def _end_users(stored: _Stored) -> EndUsers | None:
    named_by = cast("str | None", stored["named_by"])
    limits = cast("_Limits", stored["end"])
    if named_by is None or not limits:
        return None
    counted = tuple((name, cast("int", limits[name])) for name in COUNTED if name in limits)
    has_rules = not limits.keys().isdisjoint(_RULES)
    return EndUsers(named_by, counted, _rules_of(END, limits) if has_rules else None)


def _rules_of(subject: str, limits: _Limits) -> Rules:
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in limits.items()
        if name in _RULES
    }
    return Rules(subject, **values)  # pyright: ignore[reportArgumentType] - checked when stored

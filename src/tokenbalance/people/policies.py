"""From the limits that are stored with a key and its account to the policy of its requests.

Pure: it reads what is stored and decides nothing.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson

from tokenbalance.model.limits import ACCOUNT, Policy, Rules, subject_of_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    _Limits: TypeAlias = Mapping[str, int | list[str]]

_CACHED: Final = 8192
_RULES: Final = tuple(field.name for field in fields(Rules) if field.name != "subject")


@lru_cache(_CACHED)
def policy_of(key_id: int, version: int, stored: str) -> Policy:
    """Read the policy of a key.

    Args:
        key_id: which key.
        version: of everything that limits it.
        stored: the limits of key and account as they are stored, as JSON.

    """
    limits = cast("Mapping[str, _Limits]", orjson.loads(stored))
    of_subjects = {subject_of_key(key_id): limits["key"], ACCOUNT: limits["account"]}
    return Policy(
        version,
        tuple(of_subjects),
        tuple(
            _rules_of(subject, of_subject)
            for subject, of_subject in of_subjects.items()
            if not of_subject.keys().isdisjoint(_RULES)
        ),
    )


def _rules_of(subject: str, limits: _Limits) -> Rules:
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in limits.items()
        if name in _RULES
    }
    return Rules(subject, **values)  # pyright: ignore[reportArgumentType] - checked when stored

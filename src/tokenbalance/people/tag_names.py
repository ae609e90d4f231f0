"""What a tag may be called. Pure; case is ignored, so tags are kept in lower case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TAGS_MAX: Final = 20
"""Of one user."""
TAG_CHARS_MAX: Final = 40
_TAG: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]*")


class InvalidTag(ValueError):
    """A tag is not acceptable, or there are too many; the message is one line for people."""


def clean_tag(tag: str) -> str:
    """Return a tag as it is stored.

    Raises:
        InvalidTag: it is not a short word.

    """
    tag = tag.strip().lower()
    if len(tag) > TAG_CHARS_MAX or not _TAG.fullmatch(tag):
        msg = (
            f"a tag must have 1 to {TAG_CHARS_MAX} characters: letters a to z, digits and -_.:,"
            " beginning with a letter or a digit"
        )
        raise InvalidTag(msg)
    return tag


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of one user as they are stored: sorted, each once.

    Raises:
        InvalidTag: one of them is not a short word, or there are too many.

    """
    cleaned = tuple(sorted({clean_tag(tag) for tag in tags}))
    if len(cleaned) > TAGS_MAX:
        msg = f"a user must have at most {TAGS_MAX} tags"
        raise InvalidTag(msg)
    return cleaned

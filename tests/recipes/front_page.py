"""The README as data: its fenced blocks, and which of them are not run, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
ADDRESS: Final = "http://127.0.0.1:8000"
"""Where the product listens on the front page."""

_BLOCK: Final = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Args:
        language: the word after the fence; empty for a drawing.
        text: what is inside.
        not_run: why it is not run; empty when it is.

    """

    language: str
    text: str
    not_run: str


BLOCKS: Final = tuple(
    Block(found["language"], found["text"], found["reason"] or "")
    for found in _BLOCK.finditer(README)
)


def commands() -> str:
    """Return the shell commands that are run, as one script."""
    return "".join(block.text for block in BLOCKS if block.language == "sh" and not block.not_run)


def recipe(language: str, imports: str = "") -> str:
    """Return the one block in this language that contains `imports`."""
    (found,) = (
        block.text for block in BLOCKS if block.language == language and imports in block.text
    )
    return found

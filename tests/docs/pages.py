"""The pages as data: fenced blocks, tables, headings and links. Nothing is run here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_NOT_RUN: Final = re.compile(r"^<!-- not run: (.+) -->$")
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?\)")
_IMAGE: Final = re.compile(r'(?:src|srcset|href)="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    line: int
    """Of its first line inside the fence."""
    language: str
    text: str
    not_run: str | None
    """The reason that stands above it, if one does."""


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """The path as the repository has it."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """The whole source."""
        return self.path.read_text("utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """Every fenced block."""
        return [self._block(match) for match in _FENCE.finditer(self.text)]

    @cached_property
    def prose(self) -> str:
        """The source without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def anchors(self) -> set[str]:
        """What a link into this page may name, as GitHub makes it of headings."""
        return {_anchor(heading) for heading in _HEADING.findall(self.prose)}

    @cached_property
    def links(self) -> list[str]:
        """Where the page leads, pictures included."""
        return [*_LINK.findall(self.prose), *_IMAGE.findall(self.prose)]

    def section(self, heading: str) -> str:
        """What stands below a heading, up to the next one of its level or above."""
        found = re.search(rf"^(#+) {re.escape(heading)}\n", self.text, re.MULTILINE)
        assert found, f"{self.name} has no heading {heading!r}"
        rest = self.text[found.end() :]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest

    def rows(self, heading: str) -> list[list[str]]:
        """The cells of every table below a heading, without the lines of their heads."""
        lines = [line for line in self.section(heading).splitlines() if line.startswith("|")]
        rows = [_cells(line) for line in lines]
        is_rule = [all(set(cell) <= set("-: ") for cell in row) for row in rows]
        is_head = [*is_rule[1:], False]
        return [row for row, *no in zip(rows, is_rule, is_head, strict=True) if not any(no)]

    def _block(self, match: re.Match[str]) -> Block:
        before = self.text[: match.start()]
        above = before.rstrip("\n").rpartition("\n")[2] if before.endswith("\n") else ""
        marker = _NOT_RUN.match(above) if not before.endswith("\n\n") else None
        line = before.count("\n") + 2
        return Block(line, match["language"], match["text"], marker[1] if marker else None)


def page(name: str) -> Page:
    """Find a page by its path."""
    return Page(ROOT / name)


def codes(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _anchor(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


OURS: Final = [
    Page(path)
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(DOCS.glob("*.md")),
        *sorted((DOCS / "decisions").glob("*.md")),
        ROOT / "benchmarks" / "README.md",
        ROOT / "findings" / "README.md",
    )
]
"""Every page of the repository, except the changelog."""

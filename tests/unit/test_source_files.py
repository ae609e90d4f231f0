"""The form of the source files, as far as neither the linter nor the type checker looks at it."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "migrations")
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
)
LINES_MAX = 400
SUPPRESSION = re.compile(r"\bnoqa\b|\bpyright: ignore\b")
EXPLAINED = re.compile(
    r"#\s*(noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)*|pyright: ignore\[\w+(, \w+)*\]) - \S"
)

TABLES = {"src/tokenbalance/errors.py"}
"""Files that are one table, in which things are looked up."""


def too_long(name: str) -> bool:
    return len((ROOT / name).read_text("utf-8").splitlines()) > LINES_MAX


def unexplained(name: str) -> list[str]:
    """The comments of a file that silence a checker and do not say why."""
    text = (ROOT / name).read_text("utf-8")
    if SUPPRESSION.search(text) is None:
        return []
    return [
        f"{name}:{token.start[0]} {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
        and len(SUPPRESSION.findall(token.string)) > len(EXPLAINED.findall(token.string))
    ]


def test_no_file_has_more_than_400_lines() -> None:
    assert len(FILES) > 100
    assert [name for name in FILES if too_long(name) and name not in TABLES] == []


def test_a_comment_that_silences_a_checker_says_why() -> None:
    assert [line for name in FILES for line in unexplained(name)] == []

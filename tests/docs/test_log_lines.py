"""Every warning and error that the code can log has a row that says what to do."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.docs.pages import ROOT, codes, page

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = ROOT / "src" / "tokenbalance"
LEVELS = {
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
    "sound": "error",
}
ROWS = page("docs/operate.md").rows("Logs")


@dataclass(frozen=True, slots=True)
class Line:
    """What one call logs."""

    place: str
    level: str
    text: str
    """What varies is `...`."""


def lines_logged() -> list[Line]:
    return [
        Line(f"{path.relative_to(SOURCE)}:{call.lineno}", LEVELS[method], text)
        for path in sorted(SOURCE.rglob("*.py"))
        for call, method in _calls(ast.parse(path.read_text("utf-8")))
        if (text := _text(call)) is not None
    ]


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            is_ours = owner.endswith("logger") or node.func.attr == "sound"
            if is_ours and node.func.attr in LEVELS:
                yield node, node.func.attr


def _text(call: ast.Call) -> str | None:
    """The message; None where it is only passed on."""
    message = call.args[-1] if ast.unparse(call.func).endswith("sound") else call.args[0]
    match message:
        case ast.Constant(value=str(text)):
            plain = re.sub(r"%[a-z]", "...", text)
        case ast.JoinedStr(values=values):
            plain = "".join(
                str(value.value) if isinstance(value, ast.Constant) else "..." for value in values
            )
        case _:
            return ast.unparse(message)
    return plain if plain.replace("...", "") else None


def _is_about(phrase: str, text: str) -> bool:
    """Whether a phrase of the table is this line, whatever varies in either."""
    parts = phrase.replace("...", "\0").rstrip(".").split("\0")
    return (
        re.fullmatch(".*".join(map(re.escape, parts)), text.rstrip("."), re.IGNORECASE) is not None
    )


def test_every_line_worth_a_warning_has_a_row() -> None:
    missing = [
        f"{line.place}  {line.level}  {line.text}"
        for line in lines_logged()
        if not any(_is_about(phrase, line.text) for row in ROWS for phrase in codes(row[0]))
    ]
    assert not missing, "\n".join(["no row says what to do:", *missing])


def test_every_row_is_about_a_line_and_knows_its_level() -> None:
    lines = lines_logged()
    for row in ROWS:
        about = [
            line for line in lines if any(_is_about(each, line.text) for each in codes(row[0]))
        ]
        assert about, f"no line is like {row[0]}"
        assert {line.level for line in about} == set(row[1].split(", ")), row[0]

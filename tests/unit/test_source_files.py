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
# To be emptied: files that are still too long, or silence a checker without a reason.
STILL_TOO_LONG = {
    "src/tokenbalance/books/ledger/invariants.py",
    "src/tokenbalance/database/statements.py",
    "src/tokenbalance/database/tables.py",
    "src/tokenbalance/openai/ceilings/chat.py",
    "src/tokenbalance/openai/metering/meter.py",
    "src/tokenbalance/proxy/exchange.py",
    "src/tokenbalance/wire/server/process.py",
    "src/tokenbalance/wire/server/protocol.py",
    "tests/books/test_audit.py",
    "tests/books/test_batches.py",
    "tests/books/test_book_machine.py",
    "tests/books/test_expiry.py",
    "tests/books/test_journal.py",
    "tests/books/test_sweep.py",
    "tests/books/test_waiting.py",
    "tests/faults/test_byte_sweeps.py",
    "tests/faults/test_crash_points.py",
    "tests/faults/test_database_connections.py",
    "tests/faults/test_embedded_postgres.py",
    "tests/faults/test_upstream_faults.py",
    "tests/proxy/test_charging.py",
    "tests/proxy/test_http_framing.py",
    "tests/proxy/test_rates.py",
    "tests/proxy/test_sandbox.py",
    "tests/proxy/test_upstream.py",
    "tests/proxy/test_waiting.py",
    "tests/support/upstream.py",
    "tests/surface/test_estimate.py",
    "tests/surface/test_meter.py",
    "tests/web/panel/test_admin_pages.py",
}
STILL_UNEXPLAINED = {
    "src/tokenbalance/database/connections.py",
    "src/tokenbalance/database/tables.py",
    "src/tokenbalance/openai/documents.py",
    "src/tokenbalance/people/passwords.py",
    "src/tokenbalance/sandbox/app.py",
    "src/tokenbalance/settings.py",
    "src/tokenbalance/wire/server/protocol.py",
    "tests/books/test_audit.py",
    "tests/faults/test_embedded_postgres.py",
    "tests/proxy/test_recordings.py",
    "tests/support/hostile.py",
    "tests/support/product.py",
    "tests/surface/test_tokens.py",
    "tests/web/api/test_keys.py",
    "tests/web/panel/conftest.py",
    "tests/web/panel/test_guards.py",
}


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
    assert [name for name in FILES if too_long(name) and name not in TABLES | STILL_TOO_LONG] == []


def test_a_comment_that_silences_a_checker_says_why() -> None:
    looked_at = [name for name in FILES if name not in STILL_UNEXPLAINED]
    assert [line for name in looked_at for line in unexplained(name)] == []

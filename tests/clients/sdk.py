"""The official SDK's own tests, directly against a mock server and through the product.

    .venv/bin/python -m tests.clients sdk [--versions 3.3.1,3.57.0] [--tests test_files.py,audio]

Fetches each release of the SDK with its tests, and the mock server that its scripts use. The
document that the mock server plays is drawn from the release itself (`programs/sdk_spec.py`): the
one that OpenAI publishes is at an address that cannot be reached everywhere. Every test then runs
twice, first directly; what its requests name is adopted for the account that runs it the second
time. A table says how many pass each way, and another one which do not pass through the product,
with the reason of the closed row, or of a refusal that is meant (`sdk_results.py` lists them).
Exits with 1 if anything else differs.

With `--upstream sandbox` the sandbox stands where the mock server does. Tests of administration are
left out: all of it is closed. Takes about ten minutes for a release.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.clients.children import run
from tests.clients.installation import PROGRAMS
from tests.clients.product import Broken, served
from tests.clients.sdk_adoption import named_in
from tests.clients.sdk_mock import mocked
from tests.clients.sdk_results import Difference, Outcome, differences, outcomes
from tests.clients.sdk_source import draw, fetch, fetch_document, fetch_mock, newest
from tests.clients.tables import say, show_rows
from tokenbalance.sandbox.serving import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from tests.clients.product import Product
    from tests.clients.sdk_source import Source

    _Outcomes: TypeAlias = dict[str, Outcome]

OLDEST: Final = "3.3.1"
BALANCE: Final = 10**15
EMAIL: Final = "sdk@example.com"
AT_ONCE: Final = "2"
LIMIT_S: Final = 3600.0
_TESTS: Final = Path("tests/api_resources")
_ADMINISTRATION: Final = "admin"


@dataclass(frozen=True, slots=True)
class _Suite:
    """One release's tests, and which of them are run."""

    source: Source
    wanted: tuple[str, ...]

    def run(self, url: str, key: str, report: Path, record: Path | None = None) -> _Outcomes:
        """Run them against a server.

        Args:
            url: of the server.
            key: the API key that they show.
            report: the file that says what became of each.
            record: where requests are noted.

        """
        environment = {
            **os.environ,
            "TEST_API_BASE_URL": url,
            "SDK_TEST_KEY": key,
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if record is not None:
            environment["SDK_RECORD"] = str(record)
        ended = run(self._words(report), environment, self.source.folder, LIMIT_S)
        if not report.exists():
            raise Broken(ended.output.strip()[-2000:])
        return outcomes(report)

    def _words(self, report: Path) -> tuple[str, ...]:
        pytest = (str(self.source.python), "-m", "pytest", "-p", "sdk_recorder")
        # Not the options of their configuration: a report of each slow test, a process a core.
        quietly = ("-o", "addopts=", "-q", "--tb=short", "-p", "no:cacheprovider", "-n", AT_ONCE)
        closed = ("--ignore", str(_TESTS / _ADMINISTRATION))
        wanted = [str(_TESTS / name) for name in self.wanted] or [str(_TESTS)]
        return (*pytest, *quietly, *closed, f"--junitxml={report}", *wanted)


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.clients sdk", description="The SDK's own tests.")
    parser.add_argument("--versions", metavar="NUMBERS", default=f"{OLDEST},{newest()}")
    parser.add_argument("--tests", metavar="PATHS", default="", help="below tests/api_resources")
    parser.add_argument("--upstream", choices=("mock", "sandbox"), default="mock")
    parser.add_argument("--folder", metavar="PATH", help="keep what is fetched, for another run")
    asked = parser.parse_args(words)
    wanted = tuple(filter(None, str(asked.tests).split(",")))
    with tempfile.TemporaryDirectory(prefix="tokenbalance-sdk-") as name:
        folder = Path(str(asked.folder or name))
        folder.mkdir(exist_ok=True)
        as_expected = True
        for version in str(asked.versions).split(","):
            say(f"fetching openai {version} and its tests")
            suite = _Suite(fetch(version, folder / version), wanted)
            with _upstream(str(asked.upstream), suite.source, folder) as url:
                as_expected = _compare(suite, url, Path(name) / f"run-{version}") and as_expected
    return 0 if as_expected else 1


@contextmanager
def _upstream(kind: str, source: Source, folder: Path) -> Generator[str]:
    """Serve what stands in OpenAI's place; yields the URL."""
    if kind == "sandbox":
        with serve_in_thread() as sandbox:
            yield sandbox.base_url
        return
    shared = folder / "mock"
    if not shared.exists():
        _ = fetch_mock(shared), fetch_document(source, folder / "document")
    command = shared / "node_modules" / ".bin" / "steady"
    document = next((folder / "document").rglob("openapi.yml"))
    with mocked(command, draw(source, document)) as url:
        yield url


def _compare(suite: _Suite, url: str, home: Path) -> bool:
    """Run the tests both ways and show the tables; returns whether only closed rows differ."""
    home.mkdir(parents=True, exist_ok=True)
    record = home / "record"
    say("running its tests directly")
    direct = suite.run(url, "sk-direct", home / "direct.xml", record)
    named = list(home.glob("record.*"))
    settings = {"TOKENBALANCE_FREE_PER_MINUTE": "1000000"}
    with served(home, url, **settings) as product:
        key = product.new_key(EMAIL, BALANCE)
        _adopt(product, named)
        say("running its tests through the product")
        through = suite.run(f"{product.url}/v1", key, home / "through.xml")
        verified = product.command("ledger", "verify")
    return _show(suite.source.version, direct, through, verified)


def _adopt(product: Product, records: Sequence[Path]) -> None:
    """Make what the tests name the account's, in a process that sees the product's database."""
    words = (sys.executable, "-m", "tests.clients.sdk_adoption", EMAIL, *map(str, records))
    done = subprocess.run(
        words, env=dict(product.environment), capture_output=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise Broken(done.stderr.decode("utf-8", "replace")[-1000:])
    say(f"{len(named_in(records))} objects are adopted")


def _show(
    version: str,
    direct: Mapping[str, Outcome],
    through: Mapping[str, Outcome],
    verified: Mapping[str, object],
) -> bool:
    rows = list(differences(direct, through))
    wrong = [row for row in rows if not row.is_expected]
    passed = sum(outcome.passed for outcome in direct.values())
    passed_through = sum(outcome.passed for outcome in through.values())
    head = (
        "openai",
        "tests",
        "pass directly",
        "pass through",
        "refused as meant",
        "other differences",
    )
    counts = (len(direct), passed, passed_through)
    show_rows(
        (
            head,
            (
                version,
                *map(str, counts),
                str(sum(row.tests for row in rows if row.is_expected)),
                str(sum(row.tests for row in wrong)),
            ),
        )
    )
    show_rows((("resource", "tests", "reason"), *map(_cells, [*wrong, *_expected(rows)])))
    for row in wrong:
        say(f"for example {row.example}")
    say(f"ledger verify: {dict(verified)}")
    return not wrong and bool(verified["ok"])


def _expected(rows: Sequence[Difference]) -> list[Difference]:
    return [row for row in rows if row.is_expected]


def _cells(row: Difference) -> tuple[str, str, str]:
    return row.resource, str(row.tests), row.reason

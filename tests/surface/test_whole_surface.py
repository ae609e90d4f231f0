"""Every operation of OpenAI's is open, or closed for a reason; so is every one of the SDK's.

After a new release of the SDK these tests name the operations that somebody has to decide about.
"""

from __future__ import annotations

import csv
import inspect
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import openai.resources
import pytest

from tokenbalance.errors import EndpointNotAllowed, UnknownUrl
from tokenbalance.openai import OPERATIONS, find_operation
from tokenbalance.openai.closed import CLOSED

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

OPERATIONS_CSV = Path(__file__).parents[2].parent / "shared" / "data" / "openai-operations.csv"
WITH_LIST = pytest.mark.skipif(
    not OPERATIONS_CSV.exists(), reason=f"../shared/data/{OPERATIONS_CSV.name} is absent"
)
CALLS = re.compile(r"self\._(get|post|put|patch|delete|get_api_list)\(")
PATH = re.compile(r"\s*(?:path_template\(\s*)?\"(/[^\"]*)\"")
END_OF_CALL = re.compile(r"\n\s+(?:cast_to|model)=")
QUERY = re.compile(r"query=(?:await async_)?maybe_transform\(\s*\{(.*?)\}", re.DOTALL)

JOB = "it starts or belongs to a job"
SOCKET = "it is a WebSocket"
SHUT_DOWN = "OpenAI has shut it down"
BYPASS = "it opens a way to the upstream that bypasses this server"
EVERYBODYS = "it acts for all users of the shared key"
ADMINISTRATION = "it administers the operator's organization"
UNMETERED = "its cost is not metered here yet"


def listed() -> list[dict[str, str]]:
    with OPERATIONS_CSV.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def reason_of(method: str, path: str) -> str | None:
    """Why an operation is closed; None if it is open. Fails for one that nobody has decided."""
    raw, _, query = re.sub(r"\{\w*\}", "id_1", path).partition("?")
    try:
        _ = find_operation(method, raw.encode(), query.encode())
    except EndpointNotAllowed as error:
        return error.message.partition("OpenAI has this, but ")[2]
    return None


def is_decided(method: str, path: str) -> bool:
    try:
        _ = reason_of(method, path)
    except UnknownUrl:
        return False
    return True


@cache
def operations_of_the_sdk() -> dict[tuple[str, str], set[str]]:
    """Read the installed SDK's sources for the requests that they send, with their queries."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in Path(inspect.getfile(openai.resources)).parent.rglob("*.py"):
        _, *parts = CALLS.split(file.read_text("utf-8"))
        for verb, rest in zip(parts[::2], parts[1::2], strict=True):
            call = END_OF_CALL.split(rest, maxsplit=1)[0]
            path = PATH.match(call)
            assert path, f"a call in {file.name} is not understood: {call[:80]}"
            by_list = "POST" if 'method="post"' in rest[:2000] else "GET"
            method = by_list if verb == "get_api_list" else verb.upper()
            query = QUERY.search(call)
            names = re.findall(r"\"(\w+)\":", query[1]) if query else []
            found.setdefault((method, path[1]), set()).update(names)
    return found


def test_every_operation_of_the_installed_sdk_is_decided() -> None:
    operations = operations_of_the_sdk().keys()
    assert len(operations) > 200
    assert {("POST", "/chat/completions"), ("POST", "/responses?beta=true")} <= operations
    assert sorted(each for each in operations if not is_decided(*each)) == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_a_row_sends_on_the_query_that_the_installed_sdk_sends(operation: Operation) -> None:
    assert set(operation.query) == operations_of_the_sdk()[operation.method, operation.path]


@WITH_LIST
def test_every_known_operation_is_decided() -> None:
    rows = [(row["method"], row["path"]) for row in listed()]
    assert len(rows) >= 396
    assert sorted(each for each in rows if not is_decided(*each)) == []


@WITH_LIST
def test_no_operation_is_closed_that_openai_does_not_have() -> None:
    known = {
        (
            "SOCKET" if row["request"] == "socket" else row["method"],
            re.sub(r"\{\w+\}", "{id}", row["path"]),
        )
        for row in listed()
    }
    closed = {
        (method, path)
        for lines in CLOSED.values()
        for *methods, path in filter(None, map(str.split, lines.split("\n")))
        for method in methods
    }
    assert sorted(closed - known) == []


@WITH_LIST
def test_the_reason_that_callers_get_is_the_true_one() -> None:
    wrong = [
        (row["method"], row["path"], reason)
        for row in listed()
        if (reason := reason_of(row["method"], row["path"])) is not None
        and not reason.startswith(true_reason(row))
    ]
    assert wrong == []


def true_reason(row: dict[str, str]) -> str:
    """Why an operation is closed, if it is, by what the list says of it."""
    group = row["group"]
    if group == "F":
        return ADMINISTRATION
    if group == "F2":
        return EVERYBODYS
    if group == "X":
        return SHUT_DOWN if row["until"] else BYPASS
    if row["request"] == "socket":
        return SOCKET
    return JOB if group in {"C", "E"} else UNMETERED

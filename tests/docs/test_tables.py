"""The tables of the pages say what the code says, and name all of it."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import TYPE_CHECKING, cast, get_args

import pytest
from pydantic import AliasChoices

from tests.docs.pages import ROOT, codes, page
from tests.support.product import product_app
from tokenbalance.cli import commands
from tokenbalance.database.tables import ENTRY_KINDS
from tokenbalance.errors import ProxyError
from tokenbalance.events.names import Access, Change
from tokenbalance.openai import OPERATIONS
from tokenbalance.sandbox import faults
from tokenbalance.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from pydantic.fields import FieldInfo

SETTINGS = page("docs/settings.md")
USE = page("docs/use.md")
API = page("docs/api.md")
ADMINISTER = page("docs/administer.md")
OPERATE = page("docs/operate.md")

METHODS = {"GET", "PUT", "POST", "PATCH", "DELETE"}


# --- settings ---


def _names_of(field: str, info: FieldInfo) -> set[str]:
    """Collect every name under which the environment may set a field."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return {str(choice) for choice in alias.choices}
    return {alias if isinstance(alias, str) else field.upper()}


def test_every_setting_is_explained_and_nothing_else() -> None:
    fields = Settings.model_fields.items()
    known = set[str]().union(*(_names_of(*field) for field in fields))
    explained = {name for row in SETTINGS.rows("Settings") for name in codes(row[0])}
    assert explained == known


def test_the_defaults_are_those_of_the_example_environment() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    shown = dict(re.findall(r"^#([A-Z_]+)=(.+)$", text, re.MULTILINE))
    for variables, _, default in SETTINGS.rows("Settings"):
        for name in codes(variables):
            assert name not in shown or shown[name] in codes(default), name


# --- /v1 ---


def test_every_endpoint_is_in_the_table_with_what_it_costs() -> None:
    told = {
        name: row[1]
        for row in USE.rows("Endpoints")
        for code in codes(row[0])
        for name in _each_method(code)
    }
    opened = {f"{one.method} /v1{one.path}": one for one in OPERATIONS if "?" not in one.path}
    assert told.keys() == opened.keys()
    for name, charge in told.items():
        assert (charge == "free") is not opened[name].charged, name


def _each_method(code: str) -> list[str]:
    """`GET, POST /v1/files` as the names of two endpoints."""
    methods, _, path = code.rpartition(" ")
    return [f"{method} {path}" for method in methods.split(", ")]


def test_every_code_of_an_error_is_in_the_table_with_its_status() -> None:
    rows = USE.rows("Errors")
    told = {code: row[0] for row in rows for code in codes(row[1])}
    known = set(_codes_of(ProxyError)) | {(405, "method_not_allowed")}
    missing = [(status, code) for status, code in known if code not in told]
    assert missing == []
    assert told.keys() == {code for _, code in known}
    statuses = {(int(status), code) for row in rows for status, code in _pairs(row)}
    # A message may be all that tells two apart: `unknown_url` is a 400 where the URL is malformed.
    assert known - statuses == {(400, "unknown_url")}


def _codes_of(error: type[ProxyError]) -> Iterator[tuple[int, str]]:
    yield error.status, error.code
    for child in error.__subclasses__():
        # Pages have some of their own, which no program meets.
        if child.__module__ == ProxyError.__module__:
            yield from _codes_of(child)


def _pairs(row: list[str]) -> Iterator[tuple[str, str]]:
    return ((status, code) for status in row[0].split(", ") for code in codes(row[1]))


# --- /api ---


def test_every_management_route_is_in_the_table() -> None:
    paths = cast(
        "dict[str, dict[str, object]]", product_app("postgresql://", None).openapi()["paths"]
    )
    known = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/api/") and method.upper() in METHODS
    }
    assert {route for row in API.rows("Routes") for route in codes(row[0])} == known


def test_routes_that_anybody_may_call_are_said_to_be_so() -> None:
    document = product_app("postgresql://", None).openapi()
    for row in API.rows("Routes"):
        for route in codes(row[0]):
            method, path = route.split()
            operation = document["paths"][path][method.lower()]
            is_open = "anyone" in row[1] and "open" not in row[1]
            assert is_open is ("security" not in operation), route


# --- commands ---


def _commands(command: object, name: str = "") -> Iterator[str]:
    children = cast("dict[str, object] | None", getattr(command, "commands", None))
    if children is None:
        yield name
        return
    for child, inner in children.items():
        yield from _commands(inner, f"{name} {child}".strip())


def test_every_command_is_in_the_table() -> None:
    named = [code for row in ADMINISTER.rows("The command line") for code in codes(row[0])]
    told = [re.sub(r"( --?.*| [A-Z_]+\b.*)$", "", code) for code in named]
    known = (_commands(commands.imported(name), name) for name in commands.app.commands)
    assert sorted(told) == sorted(chain.from_iterable(known))


def test_every_kind_of_entry_is_in_the_table() -> None:
    told = {codes(row[0])[0] for row in ADMINISTER.rows("Balances and the ledger")}
    assert told == set(ENTRY_KINDS)


def test_every_model_that_misbehaves_in_the_sandbox_is_in_the_table() -> None:
    told = {code for row in ADMINISTER.rows("The sandbox") for code in codes(row[0])}
    manners = {manner.value for manner in faults.Manner} - {"prompt"}
    assert told == {*faults._ERRORS, *manners, faults.MODEL_WITHOUT_USAGE}


# --- metrics ---


async def test_every_metric_is_in_the_table(http: httpx2.AsyncClient) -> None:
    response = await http.get("/metrics")
    known = set(re.findall(r"^# TYPE (tokenbalance_\w+)", response.text, re.MULTILINE))
    told = {code.partition("{")[0] for row in OPERATE.rows("Metrics") for code in codes(row[0])}
    assert told == known


# --- clients ---


@pytest.mark.parametrize("name", ["docs/use.md", "README.md"])
def test_configurations_on_a_page_are_toml(name: str) -> None:
    for block in page(name).blocks:
        if block.language == "toml":
            assert tomllib.loads(block.text), block.line


# --- security log ---


def test_every_event_is_in_the_table_of_the_security_log() -> None:
    told = [name for row in OPERATE.rows("Security log") for name in codes(row[0])]
    assert sorted(told) == sorted((*get_args(Change), *get_args(Access)))

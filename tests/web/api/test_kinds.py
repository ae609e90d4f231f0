"""Kinds in responses and files: a model's own tokens always, others where they were used."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from tests.support.usage import Used, use
from tokenbalance.books.pricing.units import UNITS

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

FIRST = [
    *("input", "cached_input", "output", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
]
OF_TODAY = [*FIRST, "cache_write", "cache_write_12h", "cached_image_input"]
MORE = {
    "cached_input": 4,
    "kind_of_tomorrow": 3,
    "svg_output": 5,
    "call:web_search": 7,
    "tier:priority": 1,
}
FIELDS = {**dict.fromkeys(OF_TODAY, 0), "input": 10, **MORE}
OTHERS = "call:web_search=7 kind_of_tomorrow=3 tier:priority=1"


async def test_every_kind_of_the_table_is_a_field_and_so_is_any_other_that_was_used(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    request_id = await use(pool, people.user, Used(tokens=10, more=MORE))
    headers = people.user.headers
    (row,) = (await http.get("/api/usage?group_by=model", headers=headers)).json()["data"]
    assert {name: row[name] for name in FIELDS} == FIELDS
    (listed,) = (await http.get("/api/requests", headers=headers)).json()["data"]
    explained = (await http.get(f"/api/requests/{request_id}", headers=headers)).json()
    assert listed["usage"] == explained["usage"] == {**FIELDS, "total": 10}


async def test_columns_of_files_do_not_move_when_there_are_more_kinds(
    http: httpx2.AsyncClient, people: People
) -> None:
    headers = {**people.user.headers, "accept": "text/csv"}
    later = ",".join(["", "other_kinds", *UNITS.tokens[len(FIRST) :]])
    whose = "day,user_id,user,key_id,key_name,model,requests"
    usage = (await http.get("/api/usage", headers=headers)).text.splitlines()[0]
    assert usage == f"{whose},{','.join(FIRST)},total,charge,overrun,estimated{later}"
    whose = "created_at,request_id,user,key_id,key_name,endpoint,model"
    numbers = "total,charge,overrun,estimated,upstream_status,first_byte_ms,total_ms,streamed"
    requests = (await http.get("/api/requests", headers=headers)).text.splitlines()[0]
    assert requests == f"{whose},{','.join(FIRST)},{numbers}{later}"


async def test_what_is_no_kind_of_token_has_one_column_together(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await use(pool, people.user, Used(tokens=10, more=MORE))
    headers = {**people.user.headers, "accept": "text/csv"}
    for path in ("/api/usage", "/api/requests"):
        file = (await http.get(path, headers=headers)).text
        (row,) = csv.DictReader(io.StringIO(file))
        assert (row["input"], row["svg_output"], row["cache_write"]) == ("10", "5", "0"), path
        assert row["other_kinds"] == OTHERS, path

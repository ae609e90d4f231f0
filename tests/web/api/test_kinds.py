"""Kinds of tokens in responses and files: those of today always, others where they were used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.usage import Used, use

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

OF_TODAY = [
    *("input", "cached_input", "output", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
]
LATER = ["cache_write", "cache_write_12h", "cached_image_input"]
MORE = {"cached_input": 4, "kind_of_tomorrow": 3, "call:web_search": 7, "tier:priority": 1}
FIELDS = {**dict.fromkeys([*OF_TODAY, *LATER], 0), "input": 10, **MORE}


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


async def test_what_has_no_column_of_its_own_is_in_that_of_the_others(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    _ = await use(pool, people.user, Used(tokens=10, more={**MORE, "cache_write": 2}))
    headers = {**people.user.headers, "accept": "text/csv"}
    others = "call:web_search=7 kind_of_tomorrow=3 tier:priority=1"
    for path in ("/api/usage", "/api/requests"):
        head, row = (await http.get(path, headers=headers)).text.splitlines()
        cells = dict(zip(head.split(","), row.split(","), strict=True))
        assert (cells["others"], cells["cache_write"]) == (others, "2")


async def test_columns_of_files_do_not_move_when_there_are_more_kinds(
    http: httpx2.AsyncClient, people: People
) -> None:
    headers = {**people.user.headers, "accept": "text/csv"}
    later = ",".join(["", "others", *LATER, "team"])
    whose = "day,user_id,user,key_id,key_name,model,requests"
    usage = (await http.get("/api/usage", headers=headers)).text.splitlines()[0]
    assert usage == f"{whose},{','.join(OF_TODAY)},total,charge,overrun,estimated{later}"
    whose = "created_at,request_id,user,key_id,key_name,endpoint,model"
    numbers = "total,charge,overrun,estimated,upstream_status,first_byte_ms,total_ms,streamed"
    times = "arrived_at,ended_at"
    requests = (await http.get("/api/requests", headers=headers)).text.splitlines()[0]
    assert requests == f"{whose},{','.join(OF_TODAY)},{numbers},{times}{later}"

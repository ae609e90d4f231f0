"""Images that are quoted, or refused before anything is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proxy.test_media import PROMPT, RICH
from tests.support.books import create_holder

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


async def test_a_quote_says_what_an_image_would_hold_and_too_little_is_refused(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1_000)
    body = {**PROMPT, "n": 2}
    asked = {"path": "/v1/images/generations", "body": body}
    quote = (await http.post("/api/quote", json=asked, headers=holder.headers)).json()
    assert (quote["admitted"], quote["choices"]) == (False, 2)
    assert quote["hold"] == quote["minimum"] > 1_000
    assert quote["hold"] == quote["input_tokens"] + 2 * quote["output_cap"]
    path = "/v1/images/generations"
    refused = await http.post(path, json=body, headers=holder.headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_quota")
    assert str(quote["hold"]) in refused.json()["error"]["message"]
    assert upstream.requests == []


async def test_what_decides_the_cost_of_an_image_is_checked(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    for field, value, code in (
        ("n", 11, "integer_above_max_value"),
        ("n", "2", "invalid_type"),
        ("N", 9, "unknown_parameter"),
        ("Size", "1024x1024", "unknown_parameter"),
        ("partial_images", 4, "integer_above_max_value"),
        ("quality", 3, "invalid_type"),
        ("prompt", None, "invalid_type"),
        ("model", None, "invalid_type"),
        ("svg", {}, "missing_required_parameter"),
        ("svg", {"model": "ft:gpt:a"}, "model_not_found"),
    ):
        body = {**PROMPT, field: value}
        refused = await http.post("/v1/images/generations", json=body, headers=holder.headers)
        assert refused.json()["error"]["code"] == code, (field, value, refused.text)
    assert upstream.requests == []


async def test_images_to_edit_that_are_no_list_are_refused_by_name(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    for images in ({"file_id": "file-1"}, "file-1", 3):
        body = {**PROMPT, "images": images}
        refused = await http.post("/v1/images/edits", json=body, headers=holder.headers)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (
            400, "invalid_type", "images",
        )  # fmt: skip
    assert upstream.requests == []


async def test_files_that_are_given_cost_what_a_picture_does_or_nothing(
    http: httpx2.AsyncClient, pool: Pool
) -> None:
    holder = await create_holder(pool, RICH)
    await pool.execute(
        "INSERT INTO objects (account_id, object_id, kind, key_id)"
        " VALUES ($1, 'file-1', 'file', $2)",
        holder.account_id,
        holder.key_id,
    )
    for path, body, most in (
        ("/v1/images/edits", {**PROMPT, "images": [{"file_id": "file-1"}]}, 10_000),
        ("/v1/containers", {"name": "c", "file_ids": ["file-1"]}, 1),
    ):
        quote = await http.post(
            "/api/quote", json={"path": path, "body": body}, headers=holder.headers
        )
        assert 0 < quote.json()["hold"] <= most, quote.text

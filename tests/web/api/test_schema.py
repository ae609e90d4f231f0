"""The OpenAPI document, and whether the product keeps to it: schemathesis asks."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING, Any, get_args

import pytest

from tests.support.books import create_holder
from tokenbalance.books.reports import HOLD_STATES
from tokenbalance.people.key_fields import STATUS_CHOICES
from tokenbalance.people.secrets import new_secret, sha256
from tokenbalance.web.api.key_bodies import StatusChoice
from tokenbalance.web.api.requests import HoldState

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tokenbalance.database.connections import Pool

RUN = (sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--continue-on-failure")
# One worker: with three, schemathesis 4.32.5 on Python 3.11 was seen to fail now and then by itself
# ("AST constructor recursion depth mismatch"), and took no less time.
BOUNDS = (
    *("--max-examples", "3", "--workers", "1", "--seed", "1", "--generation-database", "none"),
)
PHASES = "examples,coverage,fuzzing"
# There are many endpoints below /v1, and what their parameters may be is the upstream's to say.
FEWER = "examples,fuzzing"
NO_FAULTS = ("not_a_server_error", "status_code_conformance")
CHECKS = (
    *NO_FAULTS,
    *("content_type_conformance", "response_headers_conformance", "response_schema_conformance"),
    *("unsupported_method", "negative_data_rejection", "allow_header_conformance"),
)
# What is much too long is refused as that, before anything else is looked at.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "414", "415", "429", "431"]
"""


async def operations(http: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    paths = (await http.get("/openapi.json")).json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path.startswith("/api/")
    }


def test_the_choices_of_the_api_are_those_of_books_and_people() -> None:
    assert get_args(HoldState) == HOLD_STATES
    assert get_args(StatusChoice) == STATUS_CHOICES


async def test_every_management_route_is_documented_with_examples_and_errors(
    http: httpx2.AsyncClient,
) -> None:
    for name, operation in (await operations(http)).items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        responses = operation["responses"]
        assert "422" not in responses, name
        assert {"400", "503"} <= set(responses), name
        assert ("security" in operation) == ("401" in responses), name
        for status, response in responses.items():
            (content,) = [response["content"]["application/json"]]
            if int(status) >= 400:
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}, name
                assert set(content["example"]["error"]) == {"message", "type", "param", "code"}
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            assert set(body["example"]) <= set(body["schema"]["properties"]), name
            assert body["schema"]["additionalProperties"] is False, name


async def sign_in(pool: Pool, *, superuser: bool) -> str:
    """Create somebody, with strangers beside them; returns a token.

    A token, since it is in no list of keys: a key would soon be found and revoked.
    """
    for _ in range(3):
        await create_holder(pool, 100)
    holder = await create_holder(pool, 1_000_000)
    change = "UPDATE users SET is_superuser = $2 WHERE id = $1"
    await pool.execute(change, holder.user_id, superuser)
    token = new_secret()
    await pool.execute(
        "INSERT INTO api_keys (account_id, kind, prefix, secret_sha256, expires_at)"
        " VALUES ($1, 'sign-in', 'tb-schema', $2, now() + interval '1 day')",
        holder.account_id,
        sha256(token),
    )
    return token


@pytest.mark.parametrize(
    ("path", "checks", "phases", "superuser"),
    [
        ("/api/", CHECKS, PHASES, False),
        ("/api/", CHECKS, PHASES, True),
        ("/v1/", NO_FAULTS, FEWER, False),
    ],
    ids=["user", "superuser", "openai"],
)
async def test_the_product_keeps_to_its_document(
    http: httpx2.AsyncClient,
    pool: Pool,
    tmp_path: Path,
    path: str,
    checks: tuple[str, ...],
    phases: str,
    superuser: bool,
) -> None:
    token = await sign_in(pool, superuser=superuser)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION, "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(*RUN, f"{http.base_url}/openapi.json", *BOUNDS, "--checks", ",".join(checks)),
        *("--phases", phases),
        *("--include-path-regex", f"^{path}", "--header", f"Authorization: Bearer {token}"),
        # It would end the token that all others are tried with.
        *("--exclude-path", "/api/keys/all/revoke"),
        cwd=tmp_path,
        # It has nothing of the product in it, and coverage takes it as long as its work.
        env={name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
        stdout=PIPE,
        stderr=STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    # Else little was asked: somebody was disabled meanwhile.
    mine = await http.get("/api/user/me", headers={"Authorization": f"Bearer {token}"})
    assert mine.json()["is_superuser"] is superuser

"""What a person or a monitor finds beside `/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.books.holds.leases import Leases
from tokenbalance.openai import SURFACE
from tokenbalance.owners.journal import ObjectJournal

if TYPE_CHECKING:
    import httpx2


async def test_a_working_product_is_live_and_ready(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/livez")).json() == {"status": "ok"}
    for path in ("/readyz", "/health"):
        response = await http.get(path)
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "database": "ok", "journal": "ok"}


@pytest.mark.parametrize("journal", [Leases, ObjectJournal])
async def test_a_product_with_a_journal_that_cannot_be_written_is_not_ready(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, journal: type
) -> None:
    monkeypatch.setattr(journal, "ready", False)
    response = await http.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "database": "ok", "journal": "unavailable"}


async def test_every_endpoint_is_documented_with_how_it_is_metered(
    http: httpx2.AsyncClient,
) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    for endpoint in SURFACE.described:
        operation = paths[f"/v1{endpoint.path}"][endpoint.method.lower()]
        assert "Metering: " in operation["description"]
        assert ("free" in operation["description"]) is not endpoint.charged
        assert {"200", "401", "503"} <= set(operation["responses"]), endpoint.path
        assert ("402" in operation["responses"]) is endpoint.charged, endpoint.path


async def test_the_documentation_answers_by_the_addresses_of_the_original(
    http: httpx2.AsyncClient,
) -> None:
    for path in ("/docs", "/redoc", "/api/docs", "/api/docs/"):
        assert (await http.get(path)).status_code == 200
    schema = (await http.get("/openapi.json")).content
    for path in ("/api/schema", "/api/schema/"):
        assert (await http.get(path)).content == schema


async def test_errors_outside_v1_wear_the_same_envelope(http: httpx2.AsyncClient) -> None:
    for response, status, code in (
        (await http.get("/nothing"), 404, "unknown_url"),
        (await http.post("/livez"), 405, "method_not_allowed"),
    ):
        assert response.status_code == status
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code

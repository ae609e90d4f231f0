"""Who may read `/metrics`, on a real socket and by address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from starlette.requests import Request

from tests.support.product import serving
from tokenbalance.errors import NotAllowed
from tokenbalance.settings import SettingsError, load_settings
from tokenbalance.telemetry.metrics_access import MetricsAccess

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "metrics-token-1"


def request_from(host: str | None, *forwarded_for: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded_for]
    client = None if host is None else (host, 4711)
    return Request({"type": "http", "headers": headers, "client": client})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.0.9",
        "169.254.1.1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ],
)
def test_without_a_token_metrics_are_open_to_private_addresses(host: str) -> None:
    MetricsAccess(None).check(request_from(host))
    MetricsAccess(None).check(request_from(host, "10.0.0.5, 127.0.0.1"))


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "172.32.0.1", "203.0.113.7", "2001:db8::1", "::ffff:8.8.8.8", "", None],
)
def test_without_a_token_metrics_are_closed_to_all_other_addresses(host: str | None) -> None:
    with pytest.raises(NotAllowed, match="TOKENBALANCE_METRICS_TOKEN"):
        MetricsAccess(None).check(request_from(host))


@pytest.mark.parametrize(
    "forwarded_for",
    [
        ("8.8.8.8",),
        ("127.0.0.1, 8.8.8.8",),
        ("127.0.0.1", "8.8.8.8"),
        ("nonsense",),
        ("10.0.0.1,",),
    ],
)
def test_a_private_proxy_does_not_open_the_metrics_to_its_clients(
    forwarded_for: tuple[str, ...],
) -> None:
    with pytest.raises(NotAllowed):
        MetricsAccess(None).check(request_from("127.0.0.1", *forwarded_for))


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", f"Bearer {TOKEN}1", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"],
)
async def test_with_a_token_nobody_else_gets_the_metrics(
    dsn: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with (
        serving(dsn, None, metrics_token=TOKEN) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        refused = await http.get("/metrics", headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert TOKEN not in refused.text
        seen = await http.get("/metrics", headers={"authorization": f"bearer {TOKEN}"})
        assert "tokenbalance_database_up 1.0" in seen.text


async def test_a_client_behind_a_trusted_proxy_counts_by_its_own_address(dsn: str) -> None:
    async with serving(dsn, None) as url, httpx2.AsyncClient(base_url=url) as http:
        refused = await http.get("/metrics", headers={"x-forwarded-for": "8.8.8.8"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert (await http.get("/metrics")).status_code == 200


def test_the_token_may_be_in_a_file_that_must_not_be_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "token"
    monkeypatch.setenv("TOKENBALANCE_METRICS_TOKEN_FILE", str(file))
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_METRICS_TOKEN_FILE: cannot be read"):
        load_settings()
    file.write_text(f"{TOKEN}\n", "utf-8")
    token = load_settings().metrics_token
    assert token is not None
    assert token.get_secret_value() == TOKEN
    file.write_text("\n", "utf-8")
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_METRICS_TOKEN_FILE: is empty"):
        load_settings()

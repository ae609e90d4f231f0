"""`compose.yaml`, read as Compose reads it: what has to be set, what is limited, what is secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices

from tokenbalance.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("app", "sandbox")


def known_variables() -> set[str]:
    found: set[str] = set()
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field.upper()]
        found |= {str(one) for one in choices}
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_limited_and_checked(name: str) -> None:
    service = SERVICES[name]
    assert {"mem_limit", "pids_limit", "ulimits", "healthcheck"} <= service.keys()
    assert service["ulimits"]["nofile"] >= 4096
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", OURS)
def test_variables_of_the_proxy_are_settings(name: str) -> None:
    assert SERVICES[name]["environment"].keys() <= known_variables()
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_secrets_are_files_and_the_password_of_postgres_is_required() -> None:
    assert all(secret.keys() == {"file"} for secret in COMPOSE["secrets"].values())
    assert COMPOSE["secrets"]["postgres_password"]["file"].startswith("${POSTGRES_PASSWORD_FILE:?")
    for name in ("app", "postgres"):
        service = SERVICES[name]
        mounted = re.findall(r"/run/secrets/(\w+)", str(service["environment"]))
        assert set(mounted) == set(service["secrets"]) <= COMPOSE["secrets"].keys()
    for service in SERVICES.values():
        assert not re.search(r"://\w*:[^@/]*@", str(service["environment"]))
        assert "POSTGRES_PASSWORD" not in service["environment"]


def test_what_is_not_set_falls_back_to_an_empty_file() -> None:
    assert (ROOT / "secrets" / "none").read_bytes() == b""
    for name in ("openai_api_key", "admin_password"):
        assert COMPOSE["secrets"][name]["file"].endswith(":-./secrets/none}")


def test_only_the_network_of_the_containers_may_set_forwarded_addresses() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert SERVICES["app"]["environment"]["FORWARDED_ALLOW_IPS"] == network["subnet"]


def test_the_sandbox_runs_on_request_only_and_shares_nothing_with_the_books() -> None:
    assert {name for name, one in SERVICES.items() if "profiles" in one} == {
        "sandbox",
        "postgres-sandbox",
    }
    sandbox = SERVICES["sandbox"]
    assert sandbox["command"] == ["serve", "--sandbox"]
    assert sandbox["networks"] == SERVICES["postgres-sandbox"]["networks"] == ["sandbox"]
    assert not sandbox["volumes"]
    assert "volumes" not in SERVICES["postgres-sandbox"]

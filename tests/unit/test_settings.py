from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.app import create_app_from_environment
from tokenbalance.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("TOKENBALANCE_HOLD_WAIT_S", ["-0.1", "3601", "nan", "soon"]),
        ("TOKENBALANCE_LEASE_S", ["0.9", "inf", "soon"]),
        ("TOKENBALANCE_SWEEP_S", ["0", "inf", "soon"]),
        ("TOKENBALANCE_SHUTDOWN_S", ["-1", "inf", "soon"]),
    ],
)
def test_a_duration_out_of_its_range_is_refused_by_its_name(
    variable: str, values: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in values:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=f"^{variable}: "):
            load_settings()


def test_durations_may_be_fractions_and_two_of_them_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENBALANCE_HOLD_WAIT_S", "0")
    monkeypatch.setenv("TOKENBALANCE_LEASE_S", "1")
    monkeypatch.setenv("TOKENBALANCE_SWEEP_S", "0.1")
    monkeypatch.setenv("TOKENBALANCE_SHUTDOWN_S", "0")
    settings = load_settings()
    durations = (settings.hold_wait_s, settings.lease_s, settings.sweep_s, settings.shutdown_s)
    assert durations == (0, 1, 0.1, 0)


@pytest.mark.parametrize(
    "value",
    [
        "proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://",
        "http://user:hidden@proxy.example:port",
        "http://proxy.example/path",
        "http://proxy.example:3128?hidden",
        "http://proxy.example:0",
    ],
)
def test_a_proxy_that_is_none_is_refused_by_its_name_and_never_shown(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENBALANCE_UPSTREAM_PROXY", value)
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_UPSTREAM_PROXY: ") as refusal:
        load_settings()
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        (
            "TOKENBALANCE_REQUEST_HEADERS",
            [
                *("Authorization", "x-api-key", "cookie", "idempotency-key", "openai-project"),
                *("connection", "te", "host", "content-length", "transfer-encoding"),
                *("accept-encoding", "content-encoding", "proxy-authorization", "x-tokenbalance-x"),
                *("x-method-override", "*", "x-*", "auth*", "open*", "proxy-a*", "x-tokenb*"),
                *("x_name", "a b", "x-name:", "x-*-y", "fine, cookie"),
            ],
        ),
        (
            "TOKENBALANCE_RESPONSE_HEADERS",
            ["set-cookie", "content-length", "Connection", "server", "date", "*", "s*", "x-t*"],
        ),
        (
            "TOKENBALANCE_CORS_ORIGINS",
            [
                "app.example",
                "https://",
                "https://a.example/path",
                "https://u@a.example",
                "http://a:x",
            ],
        ),
        ("TOKENBALANCE_BODY_MAX_MB", ["0", "2049", "1.5", "much"]),
    ],
)
def test_what_may_not_pass_is_refused_by_the_name_of_its_setting(
    variable: str, values: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in values:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=f"^{variable}: ") as refusal:
            load_settings()
        assert "\n" not in str(refusal.value)


def test_names_of_headers_and_origins_are_read_in_their_normal_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENBALANCE_REQUEST_HEADERS", "X-Title, x-acme-*,")
    monkeypatch.setenv("TOKENBALANCE_RESPONSE_HEADERS", "Server-Timing")
    monkeypatch.setenv("TOKENBALANCE_CORS_ORIGINS", "HTTPS://App.Example:443/, http://[::1]:80, *")
    settings = load_settings()
    assert settings.request_headers == ("x-title", "x-acme-*")
    assert settings.response_headers == ("server-timing",)
    assert settings.cors_origins == ("https://app.example", "http://[::1]", "*")


@pytest.mark.parametrize("value", ["http://proxy:3128", "https://user:hidden@[::1]:443/"])
def test_a_proxy_may_have_credentials_and_they_are_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENBALANCE_UPSTREAM_PROXY", value)
    settings = load_settings()
    assert settings.upstream_proxy is not None
    assert settings.upstream_proxy.get_secret_value() == value
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "kind", "is_openai", "knows"),
    [
        ("https://api.openai.com/v1", None, True, True),
        ("https://eu.api.openai.com/v1", None, True, True),
        ("https://API.openai.com:443/v1", None, True, True),
        ("https://api.openai.com.example.com/v1", None, False, True),
        ("https://notapi.openai.com/v1", None, False, True),
        ("http://127.0.0.1:8080/v1", None, False, True),
        ("http://127.0.0.1:8080/v1", "openai", True, True),
        ("http://127.0.0.1:8080/v1", "compatible", False, False),
        ("https://api.openai.com/v1", "compatible", False, False),
    ],
)
def test_the_kind_of_the_upstream_is_what_its_address_says_unless_it_is_set(
    url: str, kind: str | None, *, is_openai: bool, knows: bool
) -> None:
    settings = load_settings(_env_file=None, openai_base_url=url, upstream_kind=kind)
    traits = settings.upstream_traits
    assert (traits.is_openai, traits.knows_openai_models) == (is_openai, knows)


def test_the_sandbox_is_openai_to_us() -> None:
    settings = load_settings(_env_file=None, openai_base_url="http://127.0.0.1:1", sandbox=True)
    assert settings.upstream_traits.is_openai


@pytest.mark.parametrize("value", ["15", "0", "much"])
def test_an_output_limit_that_not_every_endpoint_takes_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENBALANCE_DEFAULT_OUTPUT_LIMIT", value)
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_DEFAULT_OUTPUT_LIMIT: "):
        load_settings()


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("postgresql://ada@db:5432/books", "postgresql://ada:p%40s%2Fs%20w@db:5432/books"),
        ("postgres://ada@a:1,b:2/books?x=1", "postgresql://ada:p%40s%2Fs%20w@a:1,b:2/books?x=1"),
        ("postgresql://ada:own@db/books", "postgresql://ada:own@db/books"),
        ("postgresql:///books?host=/run", "postgresql:///books?host=/run"),
    ],
)
def test_a_password_in_a_file_completes_the_urls_that_have_none(
    url: str, completed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password").write_text("p@s/s w\n", "utf-8")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", "password")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATABASE_DIRECT_URL", url)
    settings = load_settings()
    for one in (settings.database_url, settings.database_direct_url):
        assert one is not None
        assert one.get_secret_value() == completed


def test_a_password_file_that_is_missing_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", "nothing-here")
    with pytest.raises(SettingsError, match=r"^DATABASE_PASSWORD_FILE: cannot be read"):
        load_settings()


@pytest.mark.parametrize("key", [None, "sk-of-openai"])
def test_nobody_but_its_command_says_that_the_upstream_is_the_sandbox(
    key: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another ASGI server would answer 503, or call the responses of OpenAI the sandbox's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/books")
    monkeypatch.setenv("TOKENBALANCE_SANDBOX", "true")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_SANDBOX: .*serve --sandbox"):
        create_app_from_environment()

"""The configurations of reverse proxies and of systemd are tried as they stand on the page.

What is not installed here is skipped.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.docs.pages import Block, page
from tests.support.books import create_holder
from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.people import Pages
from tests.support.server_process import OpenStream
from tests.support.tls import certificate_file
from tests.support.upstream import Gate, ScriptedUpstream, event_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tokenbalance.database.connections import Pool

DEPLOY = page("docs/deploy.md")
START_S = 30.0
POLL_S = 0.05

NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""
CADDY = """\
{{
	admin off
	auto_https disable_redirects
}}
{site}
"""


def _only(language: str, beginning: str = "") -> Block:
    (found,) = (
        block
        for block in DEPLOY.blocks
        if block.language == language and block.text.startswith(beginning)
    )
    return found


def _nginx(folder: Path, port: int, product: str) -> list[str]:
    certificate = certificate_file(folder)
    site = _only("nginx").text.replace("127.0.0.1:8000", product.removeprefix("http://"))
    site = site.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    for name in ("fullchain", "privkey"):
        site = site.replace(f"/etc/ssl/ai.example.com/{name}.pem", str(certificate))
    file = folder / "nginx.conf"
    user = "user root;" if folder.owner() == "root" else ""
    _ = file.write_text(NGINX.format(folder=folder, site=site, user=user), "utf-8")
    return ["nginx", "-e", "stderr", "-c", str(file)]


def _caddy(folder: Path, port: int, product: str) -> list[str]:
    certificate = certificate_file(folder)
    site = _only("caddyfile").text.replace("127.0.0.1:8000", product.removeprefix("http://"))
    site = site.replace(
        "ai.example.com {", f"https://127.0.0.1:{port} {{\n\ttls {certificate} {certificate}"
    )
    file = folder / "Caddyfile"
    _ = file.write_text(CADDY.format(site=site), "utf-8")
    return ["caddy", "run", "--config", str(file)]


@asynccontextmanager
async def _proxying(command: list[str], port: int, folder: Path) -> AsyncGenerator[str]:
    """Run a reverse proxy; yields its address."""
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - to start it takes no time
            [program, *command[1:]],
            stdout=output,
            stderr=output,
            env={"HOME": str(folder), "XDG_DATA_HOME": str(folder)},
        )
    try:
        async with asyncio.timeout(START_S):
            while not _listens(port):
                assert process.poll() is None, log.read_text("utf-8")
                await asyncio.sleep(POLL_S)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        _ = await asyncio.to_thread(process.wait)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate_file(folder))


@pytest.mark.parametrize("configured", [_nginx, _caddy], ids=["nginx", "caddy"])
async def test_a_reverse_proxy_as_on_the_page_does_what_the_page_asks_of_it(
    configured: Callable[[Path, int, str], list[str]],
    product: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    tmp_path: Path,
) -> None:
    port = _free_port()
    holder = await create_holder(pool, 1000)
    command = configured(tmp_path, port, product)
    async with (
        _proxying(command, port, tmp_path) as url,
        Pages(base_url=url, verify=_trusting(tmp_path), timeout=10) as client,
    ):
        # The first event arrives while the upstream still holds the second one back.
        gate = Gate()
        upstream.script(event_stream(content("one"), gate, content("two"), USAGE, DONE))
        stream = await OpenStream.begin(client, holder, STREAM)
        gate.open()
        assert (await stream.rest())[-1] == "[DONE]"

        seen = await client.see("/sign-in")
        assert "Secure" in seen.headers["set-cookie"]
        assert "max-age" in seen.headers["strict-transport-security"]
        # With another `Host` the form would be taken for one of another site: 403.
        client.headers["origin"] = url
        refused = await client.submit("/sign-in", email="nobody@example.com", password="wrong")
        assert refused.status_code == httpx2.codes.BAD_REQUEST

        handshake = {"connection": "Upgrade", "upgrade": "websocket", **holder.headers}
        told = await client.get("/v1/responses", headers=handshake)
        assert told.status_code == httpx2.codes.UPGRADE_REQUIRED
        assert (await client.get("/metrics")).status_code == httpx2.codes.NOT_FOUND


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    unit = _only("ini", "[Unit]").text.replace("/opt/tokenbalance/bin/tokenbalance", "/bin/true")
    file = tmp_path / "tokenbalance.service"
    _ = file.write_text(unit, "utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", file], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

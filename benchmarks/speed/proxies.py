"""Subjects that know neither keys nor balances: the upstream itself, and nginx before it."""

from __future__ import annotations

import os
import pwd
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.speed.accounting import Tree
from benchmarks.speed.accounts import write_keys
from benchmarks.speed.machine import cores_for, free_port
from benchmarks.speed.programs import Program, running, until_listening
from benchmarks.speed.subjects import Subject, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.speed.subjects import Place

# Bodies stay in memory, and responses are not buffered, as in the product.
_CONFIGURATION: Final = """
{user}
worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path responses;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_buffer_size 512k;
    upstream openai {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://openai;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


@asynccontextmanager
async def reach_directly(place: Place) -> AsyncGenerator[Subject]:
    """Let the load go to the upstream, with nothing between."""
    keys = write_keys(place.folder / "keys", ["sk-any"])
    yield Subject("direct", place.upstream_port, None, {"users": keys})


@asynccontextmanager
async def start_nginx(place: Place) -> AsyncGenerator[Subject]:
    """Start nginx as a bare proxy with one worker."""
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    program = shutil.which("nginx", path=search)
    if program is None:
        msg = "nginx is not installed"
        raise Unavailable(msg)
    port = free_port()
    # As root it would become somebody else, who may not enter the run's folder.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(user=user, port=port, upstream_port=place.upstream_port)
    _ = (place.folder / "nginx.conf").write_text(text)
    command = (program, "-p", f"{place.folder}/", "-c", "nginx.conf")
    started = Program(command, place.folder, cores_for().subject)
    async with running(started) as process:
        await until_listening(port, process, started.log)
        keys = write_keys(place.folder / "keys", ["sk-any"])
        yield Subject("nginx", port, Tree(process.pid), {"users": keys})

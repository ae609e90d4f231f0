"""Other gateways, each from its registry in a folder of its own, pointed at the upstream.

None of them counts a balance here: LiteLLM runs without its database, the others have none. What
cannot be installed within ten minutes, or does not start, is left out of the run and said so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.environments import INSTALL_S, Environment, make_environment
from benchmarks.speed.accounting import Tree
from benchmarks.speed.accounts import write_keys
from benchmarks.speed.bodies import EMBEDDING_MODEL, MODEL
from benchmarks.speed.interpreter import interpreter_of
from benchmarks.speed.machine import cores_for, free_port
from benchmarks.speed.programs import Program, run_to_its_end, running, until_listening
from benchmarks.speed.subjects import Subject, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from benchmarks.speed.subjects import Place

LITELLM: Final = "LiteLLM"
OPENAI_FORWARD: Final = "openai-forward"
LM_PROXY: Final = "lm-proxy"
PORTKEY: Final = "Portkey"
GATEWAYS: Final = (OPENAI_FORWARD, LM_PROXY, PORTKEY)
KEY: Final = "sk-benchmarks"


@asynccontextmanager
async def start_litellm(place: Place) -> AsyncGenerator[Subject]:
    """Start LiteLLM's proxy with one worker, one key and no database."""
    programs = await install_from_pypi(place, "litellm", "litellm[proxy]==1.108.7")
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": place.upstream_url,
                "api_key": "sk-upstream",
            },
        }
        for name in (MODEL, EMBEDDING_MODEL)
    ]
    # JSON is YAML too.
    document = {"model_list": models, "general_settings": {"master_key": KEY}}
    _ = (place.folder / "config.yaml").write_text(json.dumps(document))
    port = free_port()
    command = (
        *(str(programs / "litellm"), "--config", "config.yaml", "--host", "127.0.0.1"),
        *("--port", str(port), "--num_workers", "1", "--telemetry", "False"),
    )
    variables = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # Every chunk of the upstream says the same word, which LiteLLM takes for a broken model.
        "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
    }
    program = Program(command, place.folder, cores_for().subject, variables)
    async with _listening(LITELLM, port, program) as subject:
        yield subject


@asynccontextmanager
async def start_openai_forward(place: Place) -> AsyncGenerator[Subject]:
    """Start openai-forward, which passes on the key that it is shown."""
    # It imports yaml and does not say so.
    programs = await install_from_pypi(
        place, "openai-forward", "openai-forward==0.8.1", "pyyaml==6.0.4"
    )
    port = free_port()
    variables = {
        "FORWARD_CONFIG": json.dumps(
            [{"base_url": place.upstream_url.removesuffix("/v1"), "route": "/", "type": "openai"}]
        ),
        "LOG_CHAT": "false",
    }
    command = (str(programs / "aifd"), "run", "--port", str(port), "--workers", "1")
    program = Program(command, place.folder, cores_for().subject, variables)
    async with _listening(OPENAI_FORWARD, port, program) as subject:
        yield subject


@asynccontextmanager
async def start_lm_proxy(place: Place) -> AsyncGenerator[Subject]:
    """Start lm-proxy with one connection, one group and one key."""
    programs = await install_from_pypi(place, "lm-proxy", "lm-proxy==3.3.2")
    port = free_port()
    _ = (place.folder / "config.toml").write_text(
        f'host = "127.0.0.1"\nport = {port}\n'
        "[connections.upstream]\n"
        f'api_type = "open_ai"\napi_base = "{place.upstream_url}"\napi_key = "sk-upstream"\n'
        f'[routing]\n"*" = "upstream.*"\n[groups.default]\napi_keys = ["{KEY}"]\n'
    )
    command = (str(programs / "lm-proxy"), "--config", "config.toml")
    program = Program(command, place.folder, cores_for().subject)
    async with _listening(LM_PROXY, port, program) as subject:
        yield subject


@asynccontextmanager
async def start_portkey(place: Place) -> AsyncGenerator[Subject]:
    """Start Portkey's gateway, which gets the upstream's address with each request."""
    folder = place.cache / "portkey"
    program = folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        msg = "node and npm are not installed"
        raise Unavailable(msg)
    if not program.exists():
        command = (npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund")
        await run_to_its_end((*command, "@portkey-ai/gateway@1.15.2"), folder, INSTALL_S)
    port = free_port()
    command = (node, str(program), f"--port={port}", "--headless")
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: {place.upstream_url}")
    started = Program(command, place.folder, cores_for().subject)
    async with _listening(PORTKEY, port, started, headers) as subject:
        yield subject


@asynccontextmanager
async def _listening(
    name: str, port: int, program: Program, headers: tuple[str, ...] = ()
) -> AsyncGenerator[Subject]:
    async with running(program) as process:
        await until_listening(port, process, program.log)
        keys = write_keys(program.folder / "keys", [KEY])
        yield Subject(name, port, Tree(process.pid), {"users": keys}, headers=headers)


async def install_from_pypi(place: Place, name: str, *packages: str) -> Path:
    """Install packages in an environment of the product's Python, once; returns its programs."""
    kind = hashlib.sha256(interpreter_of(place.python).encode()).hexdigest()[:8]
    folder = place.cache / f"{name}-{kind}"
    environment = Environment(folder / "venv")
    done = folder / "installed"
    wanted = " ".join(packages)
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        environment = await make_environment(folder / "venv", place.python)
        await environment.install(*packages)
        _ = done.write_text(wanted)
    return environment.programs

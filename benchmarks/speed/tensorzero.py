"""TensorZero's gateway, written in Rust, from its PyPI package.

The package has no program. It has the whole gateway in its extension module, and one documented
call that serves it over HTTP from inside a Python process: `patch_openai_client`. So that process
makes this call and then waits for a signal: no Python runs for a request. The gateway gets one
thread for its work, as every subject has one core. It knows no keys here and writes nothing down.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.speed.accounting import Tree
from benchmarks.speed.accounts import write_keys
from benchmarks.speed.bodies import MODEL
from benchmarks.speed.gateways import KEY, install_from_pypi
from benchmarks.speed.machine import cores_for
from benchmarks.speed.programs import START_S, NotStarted, Program, running
from benchmarks.speed.subjects import Subject

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from benchmarks.speed.subjects import Place

TENSORZERO: Final = "TensorZero"
_VERSION: Final = "2026.6.0"
_POLL_S: Final = 0.05
_SERVE: Final = """
import pathlib, signal, types
import tensorzero
client = types.SimpleNamespace()
tensorzero.patch_openai_client(client, config_file="tensorzero.toml", async_setup=False)
pathlib.Path("address.new").write_text(client.base_url)
pathlib.Path("address.new").rename("address")
signal.pause()
"""
_CONFIGURATION: Final = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
[models."{model}"]
routing = ["upstream"]
[models."{model}".providers.upstream]
type = "openai"
model_name = "{model}"
api_base = "{upstream_url}/"
api_key_location = "none"
"""
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:(?P<port>\d+)(?P<root>/openai)/v1/?")


@asynccontextmanager
async def start_tensorzero(place: Place) -> AsyncGenerator[Subject]:
    """Start the gateway with one model and one thread."""
    programs = await install_from_pypi(place, "tensorzero", f"tensorzero=={_VERSION}")
    text = _CONFIGURATION.format(model=MODEL, upstream_url=place.upstream_url)
    _ = (place.folder / "tensorzero.toml").write_text(text)
    # The call is deprecated in favour of the container image, which has the same gateway.
    command = (str(programs / "python"), "-W", "ignore", "-c", _SERVE)
    variables = {"TOKIO_WORKER_THREADS": "1"}
    program = Program(command, place.folder, cores_for().subject, variables)
    async with running(program) as process:
        port, root = await _address(place.folder / "address", process, program)
        yield Subject(
            TENSORZERO,
            port,
            Tree(process.pid),
            {"users": write_keys(place.folder / "keys", [KEY])},
            root=root,
            model_prefix="tensorzero::model_name::",
        )


async def _address(file: Path, process: Process, program: Program) -> tuple[int, str]:
    """Wait until the gateway says where it listens: it takes any free port."""
    for _ in range(int(START_S / _POLL_S)):
        if process.returncode is not None:
            break
        if (found := _read(file)) is not None:
            return int(found["port"]), found["root"]
        await asyncio.sleep(_POLL_S)
    msg = f"does not listen; its log is {program.log}"
    raise NotStarted(msg)


def _read(file: Path) -> re.Match[str] | None:
    return _ADDRESS.fullmatch(file.read_text()) if file.exists() else None

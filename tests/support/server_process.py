"""The product as an operator runs it: `tokenbalance serve`, in processes of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream

SERVE = (sys.executable, "-m", "tokenbalance.cli", "serve", "--port", "0")
START_S = 60.0
_POLL_S = 0.02
_READY = "listening on "
_WORKER = re.compile(r"Started server process \[(\d+)\]")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that runs, and everything that it started."""

    url: str
    log: Path
    _process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def workers(self) -> list[int]:
        """The process ids of all workers that ever were, in the order of their start."""
        return [int(number) for number in _WORKER.findall(self.log.read_text("utf-8"))]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and to none of its workers."""
        self._process.send_signal(number)

    async def ended(self, limit_s: float = START_S) -> int:
        """Wait for the process that was started; returns its exit code."""
        return await asyncio.to_thread(self._process.wait, limit_s)

    async def all_ended(self, limit_s: float = START_S) -> str:
        """Wait for every process; returns what was printed after the server was ready."""
        assert self._process.stdout
        # All of them hold the pipe, so it ends with the last one.
        return await asyncio.wait_for(asyncio.to_thread(self._process.stdout.read), limit_s)

    async def until_workers(self, count: int) -> int:
        """Wait until so many workers have been started in all; returns the newest."""
        async with asyncio.timeout(START_S):
            while len(self.workers) < count:
                await asyncio.sleep(_POLL_S)
        return self.workers[count - 1]

    async def until_refused(self) -> None:
        """Wait until nobody takes connections any more."""
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:  # It was waiting to be taken when they stopped.
                    continue
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def serving_process(
    folder: Path, environment: Mapping[str, str], *options: str, command: tuple[str, ...] = SERVE
) -> AsyncGenerator[ServerProcess]:
    """Serve until the test ends it; what is left of it then is killed."""
    log = folder / "serve.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: ASYNC220 - to start it takes no time
            [*command, *options],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            start_new_session=True,
        )
    assert process.stdout
    try:
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), START_S)
        assert line.startswith(_READY), log.read_text("utf-8")
        yield ServerProcess(line.removeprefix(_READY).strip(), log, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _ = await asyncio.to_thread(process.wait)
        process.stdout.close()


def upstream_settings(upstream: ScriptedUpstream) -> dict[str, str]:
    """Variables that lead a server to an upstream of the tests."""
    return {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "sk-upstream"}


class OpenStream:
    """A streamed answer whose first event has arrived."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._by_account = response.aiter_lines()

    @classmethod
    async def begin(
        cls, client: httpx2.AsyncClient, holder: Holder, document: Mapping[str, object]
    ) -> OpenStream:
        """Send a chat and wait for the first event of its answer."""
        request = client.build_request(
            "POST", "/v1/chat/completions", headers=holder.headers, json={**document}
        )
        stream = cls(await client.send(request, stream=True))
        assert stream._response.status_code == httpx2.codes.OK
        assert (await anext(stream._by_account)).startswith("data: ")
        return stream

    async def rest(self) -> list[str]:
        """Read the data of the events that are left; an answer that is cut just ends."""
        events: list[str] = []
        with suppress(httpx2.RemoteProtocolError):
            async for line in self._by_account:
                if line:
                    events.append(line.removeprefix("data: "))  # noqa: PERF401 - kept when cut
        await self._response.aclose()
        return events

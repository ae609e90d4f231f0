"""What uploads and downloads cost: memory, and whether they stop somebody else's stream.

    python -m benchmarks.uploads [--mebibytes 512] [--at-once 200] [--chunks 30]

The product runs in a process of its own; upstream and clients run in this one. A large file goes
up, one comes down, and then both at once: the figure is by how much the resident memory of the
product grew at most. Then many small uploads go on all the time while another user reads a stream:
the upstream sends a chunk once the one before has arrived, so the stream ends only if no upload
stops it. Exits with 1 if a file takes 16 MiB or more, if bytes are lost, or if a chunk stays away.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import orjson
import uvloop

from benchmarks.books import database
from benchmarks.verdict import say
from tests.support.books import create_holder
from tests.support.chat import STREAM
from tests.support.forms import BOUNDARY, CONTENT_TYPE, SURFACE
from tests.support.product import serving
from tokenbalance.database.connections import open_pool
from tokenbalance.database.migrate import migrate_in_thread
from tokenbalance.openai import OPERATIONS, Surface

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

MEBIBYTE: Final = 1024 * 1024
GROWTH_MAX_MIB: Final = 16.0
"""Of one file."""
PATIENCE_S: Final = 300.0
CHUNK_PATIENCE_S: Final = 30.0
SMALL_MIB: Final = 2
_RICH: Final = 10**15
_PIECE: Final = os.urandom(MEBIBYTE)
_HEAD_OF_FILE: Final = (
    b"--%b\r\n" % BOUNDARY
    + b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    + b"Content-Type: application/octet-stream\r\n\r\n"
)
_END_OF_FORM: Final = b"\r\n--%b--\r\n" % BOUNDARY
_MADE: Final = b'{"id":"file-1"}'
_EVENT: Final = b'data: {"id":"c","object":"chat.completion.chunk","choices":[]}\n\n'


class RefusedError(Exception):
    """The product answered something other than 200."""


@dataclass(slots=True)
class Upstream:
    """Counts what arrives, and sends what is asked for."""

    mebibytes: int
    received: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Of each body: bytes, and their checksum."""
    next_chunk: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    ends: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                await self._receive(reader, head, keeps=path.endswith(b"/files"))
                if path.endswith(b"/content"):
                    await self._send_file(writer)
                elif path.endswith(b"/completions"):
                    await self._send_stream(writer)
                else:
                    writer.write(_answer(b"content-length: %d" % len(_MADE)) + _MADE)
        writer.close()

    async def _receive(self, reader: asyncio.StreamReader, head: bytes, *, keeps: bool) -> None:
        length = next(
            (int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")),
            0,
        )
        left, checksum = length, 0
        while left:
            piece = await reader.read(min(left, MEBIBYTE))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            checksum = zlib.crc32(piece, checksum)
        if keeps:
            self.received.append((length, checksum))

    async def _send_file(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_answer(b"content-length: %d" % (self.mebibytes * MEBIBYTE)))
        for _ in range(self.mebibytes):
            writer.write(_PIECE)
            await writer.drain()

    async def _send_stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_answer(b"content-type: text/event-stream\r\ntransfer-encoding: chunked"))
        while True:
            _ = await self.next_chunk.acquire()
            if self.ends:
                break
            writer.write(b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT))
        end = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))


def _answer(fields: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody with a key."""

    port: int
    secret: str

    @asynccontextmanager
    async def _asking(
        self, method: str, path: str, content_type: str, length: int
    ) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"{method} /v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.secret}\r\n"
            f"content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        )
        writer.write(head.encode())
        try:
            yield reader, writer
        finally:
            writer.close()

    async def upload(self, mebibytes: int) -> None:
        """Send a file, and require that it was taken."""
        length = len(_HEAD_OF_FILE) + mebibytes * MEBIBYTE + len(_END_OF_FORM)
        async with self._asking("POST", "/files", CONTENT_TYPE, length) as (reader, writer):
            writer.write(_HEAD_OF_FILE)
            for _ in range(mebibytes):
                writer.write(_PIECE)
                await writer.drain()
            writer.write(_END_OF_FORM)
            _require_ok(await reader.readuntil(b"\r\n\r\n"))

    async def download(self, mebibytes: int) -> None:
        """Read a file to its end, and require that it was whole."""
        path = "/files/everything/content"
        async with self._asking("GET", path, "text/plain", 0) as (reader, _):
            _require_ok(await reader.readuntil(b"\r\n\r\n"))
            for _ in range(mebibytes):
                if await reader.readexactly(MEBIBYTE) != _PIECE:
                    raise RuntimeError("a download is not what was sent")

    async def read_stream(self, upstream: Upstream, chunks: int) -> list[float]:
        """Read a stream whose every chunk is sent once the one before has come; in seconds."""
        waits: list[float] = []
        body = orjson.dumps(STREAM)
        path = "/chat/completions"
        async with self._asking("POST", path, "application/json", len(body)) as (reader, writer):
            writer.write(body)
            _require_ok(await reader.readuntil(b"\r\n\r\n"))
            for _ in range(chunks):
                began = time.perf_counter()
                upstream.next_chunk.release()
                async with asyncio.timeout(CHUNK_PATIENCE_S):
                    _ = await reader.readuntil(_EVENT)
                waits.append(time.perf_counter() - began)
            upstream.ends = True
            upstream.next_chunk.release()
            _ = await reader.readuntil(b"[DONE]")
        return waits


def _require_ok(head: bytes) -> None:
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RefusedError(head.partition(b"\r\n")[0].decode())


class Product:
    """The process of the product."""

    def __init__(self, pid: int) -> None:
        self._folder: Path = Path("/proc") / str(pid)

    def _mebibytes(self, name: str) -> float:
        lines = (self._folder / "status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    def _cpu_s(self) -> float:
        fields = (self._folder / "stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def cost_of(self, work: Awaitable[object]) -> tuple[float, float]:
        """Do something; returns by how many mebibytes memory grew at most, and seconds of CPU."""
        before, used = self._mebibytes("VmRSS"), self._cpu_s()
        # Linux: the highest mark begins anew.
        _ = (self._folder / "clear_refs").write_text("5", "utf-8")
        async with asyncio.timeout(PATIENCE_S):
            _ = await work
        return self._mebibytes("VmHWM") - before, self._cpu_s() - used


@asynccontextmanager
async def _product(dsn: str, upstream_url: str) -> AsyncGenerator[tuple[Product, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.uploads",
        "--serve",
        dsn,
        upstream_url,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        yield Product(process.pid), urlsplit(url).port or 0
    finally:
        process.terminate()
        _ = await process.wait()


async def _serve(dsn: str, upstream_url: str) -> None:
    chat = [one for one in OPERATIONS if one.path == "/chat/completions" and one.ceiling]
    surface = Surface([*chat, *SURFACE.operations])
    async with serving(dsn, upstream_url, surface, free_per_minute=0) as url:
        say(url)
        _ = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


async def _until(ended: asyncio.Event, client: Client, done: list[bool]) -> None:
    """Upload again and again; a busy machine may refuse some."""
    while not ended.is_set():
        try:
            await client.upload(SMALL_MIB)
        except RefusedError:
            done.append(False)
        else:
            done.append(True)


async def _beside(client: Client, other: Client, upstream: Upstream, given: Asked) -> list[float]:
    """Read a stream while uploads are in flight; returns how long each chunk took."""
    ended, done = asyncio.Event(), list[bool]()
    async with asyncio.TaskGroup() as group:
        for _ in range(given.at_once):
            _ = group.create_task(_until(ended, client, done))
        while len(done) < given.at_once // 4:  # noqa: ASYNC110 - any of them ends it
            await asyncio.sleep(0.05)
        waits = await other.read_stream(upstream, given.chunks)
        ended.set()
    say(
        f"{given.at_once} uploads of {SMALL_MIB} MiB at once, {len(done)} in all,"
        f" {done.count(False)} of them refused: {given.chunks} chunks of a stream came meanwhile"
    )
    return waits


@dataclass(frozen=True, slots=True)
class Asked:
    """How much of it."""

    mebibytes: int
    at_once: int
    chunks: int


async def _measure(dsn: str, given: Asked) -> list[str]:
    await migrate_in_thread(dsn)
    async with open_pool(dsn, 2) as pool:
        secrets = [(await create_holder(pool, _RICH)).secret for _ in range(2)]
    upstream = Upstream(given.mebibytes)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=2 * MEBIBYTE)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    breaches: list[str] = []
    async with _product(dsn, url) as (product, port):
        client, other = (Client(port, secret) for secret in secrets)
        # What the first request of all loads is not the file's.
        await client.upload(0)
        size = given.mebibytes
        up, down = client.upload, client.download
        for name, files, works in (
            ("an upload", 1, [up]),
            ("a download", 1, [down]),
            ("both at once", 2, [up, down]),
        ):
            growth, cpu_s = await product.cost_of(asyncio.gather(*(work(size) for work in works)))
            each_ms = cpu_s * 1000 / size
            say(
                f"{name} of {size} MiB: {growth:.1f} MiB more, {each_ms:.1f} ms of CPU for each MiB"
            )
            if growth >= files * GROWTH_MAX_MIB:
                breaches.append(f"{name} takes {growth:.1f} MiB")
        large = {one for one in upstream.received if one[0] > size * MEBIBYTE}
        if len(large) != 1:
            breaches.append("an upload did not arrive as it was sent")
        waits = await _beside(client, other, upstream, given)
        middle, worst = statistics.median(waits) * 1000, max(waits) * 1000
        say(f"each within {middle:.0f} ms (median), the slowest within {worst:.0f} ms")
    server.close()
    return breaches


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    _ = parser.add_argument("--mebibytes", type=int, default=512)
    _ = parser.add_argument("--at-once", type=int, default=200)
    _ = parser.add_argument("--chunks", type=int, default=30)
    _ = parser.add_argument("--serve", nargs=2, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        uvloop.run(_serve(*given.serve))
        return 0
    asked = Asked(given.mebibytes, given.at_once, given.chunks)
    with (
        tempfile.TemporaryDirectory(prefix="uploads-") as folder,
        database(Path(folder), None) as dsn,
    ):
        breaches = uvloop.run(_measure(dsn, asked))
    for breach in breaches:
        say(f"BREACH: {breach}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

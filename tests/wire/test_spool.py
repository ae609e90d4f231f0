"""Bodies that are kept on the disk: unnamed, out of memory, and gone with their request."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.forms import BOUNDARY, file, form, read
from tokenbalance.errors import ServiceUnavailable
from tokenbalance.wire.client.forms import Boundary, Form
from tokenbalance.wire.client.spool import MEMORY_BYTES_MAX, PIECE_BYTES, Spools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(MEMORY_BYTES_MAX + 3 * PIECE_BYTES + 5)


@pytest.fixture
def spools(tmp_path: Path) -> Iterator[Spools]:
    spools = Spools(tmp_path / "spool")
    spools.open()
    yield spools
    spools.close()


@pytest.mark.parametrize(
    "size",
    [0, 1, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, MEMORY_BYTES_MAX + PIECE_BYTES, len(DATA)],
)
@pytest.mark.parametrize("step", [100_000, len(DATA)])
async def test_what_is_written_is_read(spools: Spools, size: int, step: int) -> None:
    spool = spools.new()
    data = DATA[:size]
    for start in range(0, size, step):
        await spool.write(data[start : start + step])
        assert spool.memory_bytes <= MEMORY_BYTES_MAX
    await spool.seal()
    assert (spool.kept is None) is (size > MEMORY_BYTES_MAX)
    assert spool.size == size
    whole = b""
    while piece := await spool.read(len(whole)):
        assert len(piece) <= PIECE_BYTES
        whole += piece
    assert whole == data
    spool.close()


async def test_a_file_of_a_form_is_read_and_sought_in_like_any_file(spools: Spools) -> None:
    for data in (DATA, b"short"):
        body = form(file("a[]", b"first"), file("a[]", data), file("b", b"last"))
        spool = spools.new()
        await spool.write(body)
        await spool.seal()
        document, files = read([body])
        kept = Form(document, files, Boundary(BOUNDARY), spool)
        opened = kept.open("a", 1)
        assert await asyncio.to_thread(opened.read) == data
        assert opened.seek(-4, os.SEEK_END) == len(data) - 4
        assert opened.read(9) == data[-4:]
        assert opened.seek(2) == opened.tell() == 2
        assert opened.read(2) == data[2:4]
        assert kept.open("a").read() == b"first"
        assert kept.open("b").read() == b"last"
        with pytest.raises(KeyError):
            _ = kept.open("c")
        spool.close()


async def test_a_spool_that_is_closed_while_it_is_used_is_only_closed(spools: Spools) -> None:
    spool = spools.new()
    await spool.write(DATA)
    reading = asyncio.create_task(spool.read(0))
    writing = asyncio.create_task(spool.write(DATA))
    await asyncio.sleep(0)
    spool.close()
    _ = await asyncio.gather(reading, writing, return_exceptions=True)
    spools.close()
    with pytest.raises(ValueError, match="closed"):
        _ = spool.read_at(0, 1)


def test_only_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    left, made, other = (tmp_path / name for name in ("upload-old", "upload-new", "notes"))
    for path in (left, made, other):
        path.touch()
    for path in (left, other):
        os.utime(path, (time.time() - 3600,) * 2)
    spools = Spools(tmp_path)
    spools.open()
    spools.close()
    assert sorted(tmp_path.iterdir()) == [other, made]


async def test_a_folder_that_cannot_be_made_serves_what_fits_into_memory(tmp_path: Path) -> None:
    taken = tmp_path / "spool"
    taken.touch()
    spools = Spools(taken)
    spools.open()
    small, large = spools.new(), spools.new()
    await small.write(b"small")
    await small.seal()
    assert small.kept == b"small"
    with pytest.raises(ServiceUnavailable):
        await large.write(DATA)
    large.close()
    spools.close()

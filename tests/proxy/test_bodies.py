"""Bodies of requests: how large, and compressed in which ways."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import httpx2
import orjson
import pytest

from tests.support.books import Holder, create_holder
from tests.support.chat import CHAT
from tests.support.compression import br, zstd
from tests.support.product import serving
from tokenbalance.wire.client import request as wire
from tokenbalance.wire.codings import BadCodingError, TooLongError, decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

    Compress = Callable[[bytes], bytes]

MEGABYTE = 1024 * 1024
PLAIN = orjson.dumps(CHAT)
EVERY_CODING = pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress), ("br", br)],
)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100_000_000)


@pytest.fixture
async def small(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a product that takes one mebibyte."""
    async with (
        serving(dsn, upstream.base_url, body_max_mb=1) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield http


async def post(
    http: httpx2.AsyncClient, holder: Holder, body: bytes, coding: str | None = None
) -> httpx2.Response:
    headers = {**holder.headers, "content-type": "application/json"}
    if coding is not None:
        headers["content-encoding"] = coding
    return await http.post("/v1/chat/completions", content=body, headers=headers)


def code_of(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


@EVERY_CODING
async def test_a_compressed_body_goes_upstream_plain(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Compress,
) -> None:
    response = await post(http, holder, compress(PLAIN), coding.upper())
    assert response.status_code == 200
    (request,) = upstream.requests
    assert request.body == PLAIN
    assert request.header("content-encoding") is None
    assert request.header("content-length") == str(len(PLAIN))


async def test_two_codings_in_a_row_are_undone_and_plain_ones_are_none(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    for body, coding in [
        (zstd.compress(gzip.compress(PLAIN)), "gzip, zstd"),
        (br(zlib.compress(PLAIN)), "identity, deflate,, br"),
        (gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]), "x-gzip"),
        (PLAIN, "identity"),
        (PLAIN, ""),
    ]:
        assert (await post(http, holder, body, coding)).status_code == 200, coding
    assert {request.body for request in upstream.requests} == {PLAIN}


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip, gzip", "gzip, aes128gcm", "*", "zip"])
async def test_another_coding_is_a_415_that_names_those_that_are_taken(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, coding: str
) -> None:
    response = await post(http, holder, PLAIN, coding)
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")
    assert "gzip, deflate, zstd or br" in response.json()["error"]["message"]
    assert upstream.requests == []


@EVERY_CODING
async def test_a_body_that_is_not_coded_as_it_says_is_a_400(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Compress,
) -> None:
    whole = compress(PLAIN)
    for body in (PLAIN, whole[:-1], whole[: len(whole) // 2], whole + b"more"):
        response = await post(http, holder, body, coding)
        assert (response.status_code, code_of(response)) == (400, "invalid_encoding"), body
    assert upstream.requests == []


@EVERY_CODING
async def test_a_few_bytes_that_stand_for_many_are_a_413(
    small: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Compress,
) -> None:
    bomb = compress(bytes(40 * MEGABYTE))
    assert len(bomb) < MEGABYTE / 16
    response = await post(small, holder, bomb, coding)
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    assert "1048576 bytes" in response.json()["error"]["message"]
    assert upstream.requests == []


@EVERY_CODING
def test_no_more_than_the_limit_of_what_a_bomb_stands_for_is_ever_kept(
    coding: str, compress: Compress
) -> None:
    bomb = compress(bytes(64 * MEGABYTE))
    twice = compress(bomb)
    for body, codings in ((bomb, [coding]), (twice, [coding, coding])):
        tracemalloc.start()
        with pytest.raises(TooLongError):
            decode(body, [name.encode() for name in codings], 2 * MEGABYTE)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 3 * MEGABYTE


def test_what_is_between_two_codings_is_bounded_although_nothing_comes_of_it() -> None:
    # Frames that zstd skips: 16 MiB that stand for nothing.
    skipped = b"\x50\x2a\x4d\x18" + (16 * MEGABYTE).to_bytes(4, "little") + bytes(16 * MEGABYTE)
    with pytest.raises(TooLongError):
        decode(gzip.compress(skipped), [b"zstd", b"gzip"], MEGABYTE)


def test_a_window_larger_than_the_coding_allows_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(PLAIN) + compressor.flush()
    with pytest.raises(BadCodingError):
        decode(body, [b"zstd"], MEGABYTE)


def test_members_without_end_are_refused() -> None:
    with pytest.raises(BadCodingError):
        decode(gzip.compress(b"") * 10_000, [b"gzip"], MEGABYTE)


async def test_a_long_body_is_decoded_and_read_beside_the_event_loop(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beside: list[object] = []

    async def offload(work: Callable[..., bytes], *args: object) -> bytes:
        beside.append(work)
        return work(*args)

    monkeypatch.setattr(wire, "offload", offload)
    text = "word " * 100_000
    body = orjson.dumps({**CHAT, "messages": [{"role": "user", "content": text}]})
    assert (await post(http, holder, zstd.compress(PLAIN), "zstd")).status_code == 200
    assert beside == []
    assert (await post(http, holder, zstd.compress(body), "zstd")).status_code == 200
    assert beside == [decode]
    assert upstream.requests[1].body == body


async def test_a_body_over_the_limit_is_a_413_that_tells_it(
    small: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    text = b'{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]}'
    just = MEGABYTE - len(text % b"")
    assert (await post(small, holder, text % (b"a" * just))).status_code == 200
    response = await post(small, holder, text % (b"a" * (just + 1)))
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    assert "1048576 bytes" in response.json()["error"]["message"]
    assert len(upstream.requests) == 1


async def test_sixty_four_mebibytes_are_taken_by_default(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    response = await post(http, holder, b" " * (64 * MEGABYTE + 1))
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    response = await post(http, holder, b" " * (64 * MEGABYTE))
    assert (response.status_code, code_of(response)) == (400, "invalid_json")

"""Whatever the upstream does wrong, the client is told rightly and the books are right."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import orjson
import pytest

from tests.support import postgres
from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, chunk, content
from tests.support.fault_proxy import FaultProxy, url_target, url_through
from tests.support.product import serving
from tests.support.tls import server_context
from tests.support.upstream import (
    Framing,
    Gate,
    Response,
    ScriptedUpstream,
    event_stream,
    json_response,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import open_pool
from tokenbalance.wire.upstream import Upstream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.support.books import Holder
    from tests.support.chat import Sdk
    from tests.support.upstream import HeaderList
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json
    from tokenbalance.postgres import EmbeddedPostgres
    from tokenbalance.wire.upstream import UpstreamResponse

BALANCE = 1000
INPUT = 9
"""Tokens of the chat's input."""
WORDS = "one two three"
"""3 tokens."""
MEGABYTE = 1024 * 1024
MEMORY_MAX = 64 * MEGABYTE
"""What a huge answer may cost in memory, in product, upstream and client together."""

OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
async def dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """One database for all of them, as each has a holder of its own."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="module")
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(dsn, size=5) as pool:
        yield pool


@pytest.fixture(scope="module")
async def the_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def product(dsn: str, the_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    async with serving(dsn, the_upstream.base_url) as url:
        yield url


@pytest.fixture
def upstream(the_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The one upstream, without what it remembers of the test before."""
    the_upstream.requests.clear()
    return the_upstream


@pytest.fixture(autouse=True)
async def books_are_right(pool: Pool) -> AsyncIterator[None]:
    """After every test here: nothing is open and the audit finds nothing."""
    yield
    async with asyncio.timeout(10):
        while (report := await audit(pool)).open_holds:
            await asyncio.sleep(0.01)
    assert report.violations == []


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, BALANCE)


async def post(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any] = CHAT
) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json=body, headers=holder.headers)


async def assert_free(pool: Pool, holder: Holder) -> None:
    """Every hold was voided and nothing charged."""
    assert set(await hold_states(pool, holder)) == {"voided"}
    assert (await account_of(pool, holder)).balance == BALANCE


@dataclass(frozen=True)
class Cost:
    """One charge."""

    total: int
    estimated: bool = False


COUNTED = Cost(INPUT + 3, estimated=True)
"""The input and `WORDS` were counted."""
INPUT_ONLY = Cost(INPUT, estimated=True)
FREE = Cost(0)
"""Nothing of an answer came."""
REPORTED = Cost(12)
"""What the usage event says."""


async def assert_cost(pool: Pool, holder: Holder, cost: Cost) -> None:
    """The one request was charged that, once; what is free was voided."""
    if cost is FREE:
        await assert_free(pool, holder)
        return
    assert await hold_states(pool, holder) == ["settled"]
    charges = [(row["total"], row["estimated"]) for row in await charges_of(pool, holder)]
    assert charges == [(cost.total, cost.estimated)]
    assert (await account_of(pool, holder)).balance == BALANCE - cost.total


def error_code(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


def shorten_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenbalance.wire.upstream.dialing.CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.READ_TIMEOUT_S", 0.3)


# --- no answer: 502 or 504, and free ------------------------------------------------------------


async def test_an_upstream_whose_name_is_unknown_is_a_502_and_free(
    dsn: str, pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo

    def unknown(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1":
            return resolve(host, *args, **kwargs)
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The question must not leave the machine.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with (
        serving(dsn, "https://upstream.invalid/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    assert asked == ["upstream.invalid"]
    await assert_free(pool, holder)


@asynccontextmanager
async def listening(
    response: bytes | None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A port that says that to whoever sends something; None: keeps silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if response is None:
            await reader.read()
        else:
            writer.write(response)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_certificate_that_nobody_signed_is_a_502_and_nothing_is_sent(
    dsn: str, pool: Pool, holder: Holder, tmp_path: Path
) -> None:
    async with (
        listening(OK_HEAD + b"content-length: 2\r\n\r\n{}", server_context(tmp_path)) as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_https_to_a_port_without_tls_is_a_502_and_free(
    dsn: str, pool: Pool, holder: Holder
) -> None:
    async with (
        listening(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_a_tls_handshake_that_stalls_is_a_504_and_free(
    dsn: str, pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_timeouts(monkeypatch)
    async with (
        listening(None) as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
    await assert_free(pool, holder)


async def test_a_black_hole_on_the_way_to_the_upstream_is_a_504_and_over_when_it_is_over(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, BALANCE)
    async with (
        FaultProxy(url_target(upstream.base_url)) as proxy,
        serving(dsn, url_through(proxy, upstream.base_url)) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        assert (await post(http, holder)).status_code == 200
        shorten_timeouts(monkeypatch)
        proxy.black_hole()
        response = await post(http, holder)
        assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
        proxy.heal()
        monkeypatch.undo()
        assert (await post(http, holder)).status_code == 200
    assert await hold_states(pool, holder) == ["settled", "voided", "settled"]


NO_RESPONSES = {
    "nonsense": b"nonsense\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no number for a status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 Low\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 1000 High\r\n\r\n",
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "less than a status": b"HTTP/1.1 ",
    "an error's unfinished head": b"HTTP/1.1 500 No\r\nx-begun: ",
    "an error's endless header": b"HTTP/1.1 400 No\r\nx-endless: " + b"x" * MEGABYTE,
    "an error of two lengths": b"HTTP/1.1 503 No\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
}


@pytest.mark.parametrize("raw", NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_what_is_no_http_answer_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, raw: bytes
) -> None:
    upstream.script(Response(raw=raw))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    assert len(upstream.requests) == 1
    await assert_free(pool, holder)


# --- an answer that promised a success: 424, and its input is charged ---------------------------

BROKEN_HEADS = {
    "half a status line": b"HTTP/1.1 2",
    "half a status line of HTTP/1.0": b"HTTP/1.0 2",
    "half a status line behind an interim answer": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
    "an unfinished head": OK_HEAD,
    "an endless status line": b"HTTP/1.1 200 " + b"O" * MEGABYTE,
    "an endless header": OK_HEAD + b"x-endless: " + b"x" * MEGABYTE,
    "endless headers": OK_HEAD + b"x-again: 1\r\n" * 100_000,
    "two lengths": OK_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a negative length": OK_HEAD + b"content-length: -2\r\n\r\n{}",
    "a length that is no number": OK_HEAD + b"content-length: two\r\n\r\n{}",
    "a header without a colon": OK_HEAD + b"nonsense\r\ncontent-length: 2\r\n\r\n{}",
    "a zero byte in a header": OK_HEAD + b"x-zero: a\0b\r\ncontent-length: 2\r\n\r\n{}",
}


def assert_incomplete(response: httpx2.Response) -> None:
    """The client was told, and told not to buy it again."""
    assert (response.status_code, error_code(response)) == (424, "upstream_incomplete")
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["document", "stream"])
@pytest.mark.parametrize("raw", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
async def test_a_success_that_breaks_within_its_head_is_a_424_whose_input_is_charged(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    raw: bytes,
    body: dict[str, Any],
) -> None:
    upstream.script(Response(raw=raw))
    assert_incomplete(await post(http, holder, body))
    assert len(upstream.requests) == 1
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_an_upstream_that_falls_silent_after_it_promised_a_success_is_a_424(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(raw=[OK_HEAD, Gate()]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_an_upstream_that_falls_silent_before_it_promised_anything_is_a_504_and_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(raw=[b"HTTP/1.1 ", Gate()]))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
    await assert_free(pool, holder)


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"HTTP/1.1 500 No\r\nx-begun: ", 502), (OK_HEAD, 424)],
    ids=["an error", "a success"],
)
async def test_what_an_answer_promised_is_not_taken_from_the_one_before_on_its_connection(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    raw: bytes,
    status: int,
) -> None:
    other = await create_holder(pool, BALANCE)
    upstream.script(Response(body=document(b',"usage":' + GOOD)), Response(raw=raw))
    assert (await post(http, holder)).status_code == 200
    assert (await post(http, other)).status_code == status
    assert len({request.connection for request in upstream.requests}) == 1
    await assert_cost(pool, holder, REPORTED)
    if status == 502:
        await assert_free(pool, other)
    else:
        await assert_cost(pool, other, INPUT_ONLY)


# --- an answer outside 2xx: as it came, and free ------------------------------------------------


@dataclass(frozen=True)
class Odd:
    """An answer that is odd in one way."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    framing: Framing = Framing.LENGTH


ODD_ERRORS = {
    "400 empty": Odd(400),
    "404 HTML": Odd(404, b"<html><h1>404</h1></html>", "text/html"),
    "413 empty, closing": Odd(413, framing=Framing.CLOSE),
    "429 invalid UTF-8": Odd(429, b'{"error": "\xff\xfe\x80"}'),
    "500 as a stream": Odd(500, USAGE + DONE, "text/event-stream"),
    "500 with usage": Odd(500, b'{"usage":{"prompt_tokens":9,"total_tokens":9}}'),
    "502 without a content type": Odd(502, b"Bad Gateway", None),
    "503 huge": Odd(503, b"x" * (9 * MEGABYTE), "text/plain"),
    "503 chunked": Odd(503, b"later", "text/plain", Framing.CHUNKED),
    "520 unknown": Odd(520, b"error code: 520", "text/plain"),
    "599 until the connection closes": Odd(599, b"[]", framing=Framing.CLOSE),
    "301 elsewhere": Odd(301),
    "304 not modified": Odd(304, framing=Framing.NONE),
}


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["document", "stream"])
@pytest.mark.parametrize("odd", ODD_ERRORS.values(), ids=ODD_ERRORS)
async def test_an_odd_error_arrives_as_it_came_and_is_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    odd: Odd,
    body: dict[str, Any],
) -> None:
    headers = [("content-type", odd.content_type)] if odd.content_type else []
    upstream.script(
        Response(status=odd.status, headers=headers, body=odd.body, framing=odd.framing)
    )
    response = await post(http, holder, body)
    assert (response.status_code, response.content) == (odd.status, odd.body)
    assert response.headers.get("content-type") == odd.content_type
    await assert_free(pool, holder)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_passed_on_and_never_followed(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, status: int
) -> None:
    headers: HeaderList = [("location", f"{upstream.base_url}/elsewhere")]
    upstream.script(Response(status=status, headers=headers, body=b""))
    response = await post(http, holder)
    assert response.status_code == status
    assert len(upstream.requests) == 1
    await assert_free(pool, holder)


async def test_an_error_that_breaks_off_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(Response(status=500, body=b'{"error": {"message": "no"}}', cut_after=9))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_a_change_of_protocol_that_nobody_asked_for_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(
        Response(
            raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\n\r\n\x81\x05hello"
        )
    )
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


# --- 2xx: charged for whatever of an answer there is --------------------------------------------


def document(usage: bytes) -> bytes:
    """A chat's answer with that text for its usage."""
    return b'{"choices":[{"index":0,"message":{"content":"%b"}}]%b}' % (WORDS.encode(), usage)


BODIES: dict[str, tuple[Odd, Cost]] = {
    "empty": (Odd(200), FREE),
    "no content": (Odd(204, framing=Framing.NONE), FREE),
    "accepted": (Odd(202, b"{}"), FREE),
    "HTML": (Odd(200, b"<html>please log in</html>", "text/html"), FREE),
    "invalid UTF-8": (Odd(200, b'{"a": "\xff\xfe\x80"}'), FREE),
    "null": (Odd(200, b"null"), FREE),
    "a list": (Odd(200, b"[" * 3 + b"]" * 3), FREE),
    "nested without an end": (Odd(200, b"[" * 100_000), FREE),
    "an answer that is no JSON": (Odd(200, b'{"choices":[{"index":0,\xff'), INPUT_ONLY),
    "half a document": (Odd(200, document(b"")[:-4]), COUNTED),
    "two documents": (Odd(200, document(b"") * 2), Cost(INPUT + 6, estimated=True)),
    "no content type": (Odd(200, document(b""), None), COUNTED),
    "until the connection closes": (Odd(200, document(b""), framing=Framing.CLOSE), COUNTED),
    "a stream that says it is JSON": (Odd(200, content(WORDS) + DONE), COUNTED),
    "JSON that says it is a stream": (Odd(200, document(b""), "text/event-stream"), COUNTED),
}


@pytest.mark.parametrize(("odd", "cost"), BODIES.values(), ids=BODIES)
async def test_an_odd_success_arrives_as_it_came_and_is_counted_if_it_is_an_answer(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    odd: Odd,
    cost: Cost,
) -> None:
    headers = [("content-type", odd.content_type)] if odd.content_type else []
    upstream.script(
        Response(status=odd.status, headers=headers, body=odd.body, framing=odd.framing)
    )
    response = await post(http, holder)
    assert (response.status_code, response.content) == (odd.status, odd.body)
    await assert_cost(pool, holder, cost)


def report(prompt: str, completion: str, total: str) -> bytes:
    """A usage object, spelled by hand, since much of this is no JSON."""
    return (
        f'{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}'
    ).encode()


GOOD = report("9", "3", "12")
LARGER = report("9", "11", "20")
HUGE = 2**53
REPORTS: dict[str, tuple[list[bytes], Cost]] = {
    "none": ([], COUNTED),
    "null": ([b"null"], COUNTED),
    "a number": ([b"12"], COUNTED),
    "a text": ([b'"12"'], COUNTED),
    "a list": ([b"[%b]" % GOOD], COUNTED),
    "a bool": ([b"true"], COUNTED),
    "an empty object": ([b"{}"], COUNTED),
    "negative": ([report("9", "3", "-12")], COUNTED),
    "zeros": ([report("0", "0", "0")], COUNTED),
    "less than its parts": ([report("9", "3", "11")], COUNTED),
    "a negative part": ([report("-9", "3", "12")], COUNTED),
    "1e30": ([report("9", "3", "1e30")], COUNTED),
    "1e999": ([report("9", "3", "1e999")], COUNTED),
    "beyond 64 bits": ([report("9", "3", str(2**64))], COUNTED),
    "beyond what is exact": ([report("9", "3", str(HUGE + 1))], COUNTED),
    "NaN": ([report("9", "3", "NaN")], COUNTED),
    "minus infinity": ([report("9", "3", "-Infinity")], COUNTED),
    "a fraction": ([report("9", "3", "12.5")], COUNTED),
    "texts": ([report('"9"', '"3"', '"12"')], COUNTED),
    "bools": ([report("true", "true", "true")], COUNTED),
    "lists": ([report("[9]", "[3]", "[12]")], COUNTED),
    "a leading zero": ([report("9", "3", "012")], COUNTED),
    "more than was held": ([report("9", "3", "5000")], Cost(5000)),
    "the most there can be": ([report("9", "3", str(HUGE))], Cost(HUGE)),
    "twice the same": ([GOOD, GOOD], REPORTED),
    "twice, growing": ([GOOD, LARGER], Cost(20)),
}


async def assert_overrun(pool: Pool, holder: Holder, cost: Cost) -> None:
    (charge,) = await charges_of(pool, holder)
    assert charge["overrun"] == max(cost.total - charge["held"], 0)


@pytest.mark.parametrize(("usages", "cost"), REPORTS.values(), ids=REPORTS)
async def test_usage_in_a_document_is_believed_when_it_makes_sense_and_counted_when_not(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    usages: list[bytes],
    cost: Cost,
) -> None:
    body = document(b"".join(b',"usage":%b' % usage for usage in usages))
    upstream.script(Response(body=body))
    response = await post(http, holder)
    assert (response.status_code, response.content) == (200, body)
    assert response.headers["x-tokenbalance-charge"] == str(cost.total)
    await assert_cost(pool, holder, cost)
    await assert_overrun(pool, holder, cost)


@pytest.mark.parametrize("asked_for", [True, False])
@pytest.mark.parametrize(("usages", "cost"), REPORTS.values(), ids=REPORTS)
async def test_usage_in_a_stream_is_believed_when_it_makes_sense_and_counted_when_not(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    usages: list[bytes],
    cost: Cost,
    asked_for: bool,
) -> None:
    events = [b'data: {"choices":[],"usage":%b}\n\n' % usage for usage in usages]
    upstream.script(event_stream(content(WORDS), *events, DONE))
    response = await post(
        http, holder, {**STREAM, "stream_options": {"include_usage": True}} if asked_for else STREAM
    )
    assert response.status_code == 200
    assert response.content.startswith(content(WORDS))
    assert response.content.endswith(DONE)
    if asked_for:
        assert response.content == content(WORDS) + b"".join(events) + DONE
    await assert_cost(pool, holder, cost)
    await assert_overrun(pool, holder, cost)


async def test_of_two_reports_in_a_stream_the_greater_counts(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    shrunk: Json = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    upstream.script(event_stream(content(WORDS), USAGE, chunk(choices=[], usage=shrunk), DONE))
    await post(http, holder, STREAM)
    await assert_cost(pool, holder, REPORTED)


ERROR_EVENT = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
NAMED_ERROR = b'event: error\ndata: {"message":"overloaded"}\n\n'
STREAMS: dict[str, tuple[list[bytes], Cost]] = {
    "no end mark": ([content(WORDS), USAGE], REPORTED),
    "no end mark and no blank line": ([content(WORDS), USAGE[:-2]], REPORTED),
    "bytes after the end": ([content(WORDS), USAGE, DONE, b"and more\n\n"], REPORTED),
    "events after the end": ([content(WORDS), USAGE, DONE, content("four")], REPORTED),
    "the end twice": ([content(WORDS), USAGE, DONE, DONE], REPORTED),
    "only the end": ([DONE], FREE),
    "nothing": ([], FREE),
    "only comments": ([b": alive\n\n"] * 3, FREE),
    "no event at all": ([b"<html>please log in</html>"], FREE),
    "data that is no JSON": ([b"data: nonsense\n\n", content(WORDS), DONE], COUNTED),
    "invalid UTF-8": ([b"data: \xff\xfe\n\n", content(WORDS), DONE], COUNTED),
    "zero bytes": ([b"\0" * 9, b"\n\n", content(WORDS), DONE], COUNTED),
    "an error after text": ([content(WORDS), ERROR_EVENT], COUNTED),
    "a named error after text": ([content(WORDS), NAMED_ERROR], COUNTED),
    "an error after usage": ([content(WORDS), USAGE, ERROR_EVENT], REPORTED),
    "an error before text and usage": ([ERROR_EVENT, content(WORDS), USAGE, DONE], REPORTED),
    "an error before text": ([ERROR_EVENT, content(WORDS), DONE], COUNTED),
    "an error before usage": ([NAMED_ERROR, USAGE, DONE], REPORTED),
    "an error after the end": ([content(WORDS), DONE, ERROR_EVENT], COUNTED),
}


@pytest.mark.parametrize(("events", "cost"), STREAMS.values(), ids=STREAMS)
async def test_an_odd_stream_arrives_as_it_came_and_is_charged_once_at_most(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    events: list[bytes],
    cost: Cost,
) -> None:
    upstream.script(event_stream(*events))
    body = {**STREAM, "stream_options": {"include_usage": True}}
    response = await post(http, holder, body)
    assert (response.status_code, response.content) == (200, b"".join(events))
    await assert_cost(pool, holder, cost)


@pytest.mark.parametrize("event", [ERROR_EVENT, NAMED_ERROR], ids=["unnamed", "named"])
async def test_an_error_event_before_any_text_is_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    event: bytes,
) -> None:
    upstream.script(event_stream(b": alive\n\n", event, DONE))
    response = await post(http, holder, STREAM)
    assert response.content == b": alive\n\n" + event + DONE
    await assert_free(pool, holder)


# --- 2xx that goes wrong on the wire ------------------------------------------------------------

CUT_CHUNKS = {
    "less than its size": b"ff\r\nhello",
    "a size and no more": b"5\r\n",
    "an endless size": b"0" * MEGABYTE,
}
BROKEN_CHUNKS = {
    "no size": b"zz\r\n",
    "a negative size": b"-5\r\nhello\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nhello",
    "more than its size": b"2\r\nhello\r\n",
}
BAD_CHUNKS = {**CUT_CHUNKS, **BROKEN_CHUNKS}


@pytest.fixture
def head_arrived(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that opens when the product has the head of an answer."""
    gate = Gate()
    send = Upstream.send

    async def sending(upstream: Upstream, *request: Any) -> UpstreamResponse:
        response = await send(upstream, *request)
        gate.open()
        return response

    monkeypatch.setattr(Upstream, "send", sending)
    return gate


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_of_a_document_are_a_424_and_what_came_before_is_counted(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    head_arrived: Gate,
    bad: bytes,
) -> None:
    text = document(b"")
    sent = b"%x\r\n%b\r\n" % (len(text), text)
    upstream.script(Response(raw=[OK_HEAD + CHUNKED, head_arrived, sent + bad]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, COUNTED)


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_right_behind_the_head_are_a_424_whose_input_is_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, bad: bytes
) -> None:
    upstream.script(Response(raw=OK_HEAD + CHUNKED + bad))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, INPUT_ONLY)


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_of_a_stream_end_it_with_an_error_event(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    head_arrived: Gate,
    bad: bytes,
) -> None:
    event = content(WORDS)
    sent = b"%x\r\n%b\r\n" % (len(event), event)
    upstream.script(Response(raw=[STREAM_HEAD + CHUNKED, head_arrived, sent + bad]))
    response = await post(http, holder, STREAM)
    assert response.status_code == 200
    assert response.content.startswith(event)
    last = response.content.rstrip().rpartition(b"data: ")[2]
    assert orjson.loads(last)["error"]["code"] == "upstream_incomplete"
    await assert_cost(pool, holder, COUNTED)


@pytest.mark.parametrize("bad", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
async def test_a_stream_whose_first_chunk_came_broken_with_its_head_is_told_and_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, bad: bytes
) -> None:
    upstream.script(Response(raw=STREAM_HEAD + CHUNKED + bad))
    response = await post(http, holder, STREAM)
    if bad == BROKEN_CHUNKS["more than its size"]:
        # Some of the body had come, so that the stream has begun.
        assert response.status_code == 200
        last = response.content.rstrip().rpartition(b"data: ")[2]
        assert orjson.loads(last)["error"]["code"] == "upstream_incomplete"
    else:
        assert_incomplete(response)
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_a_stream_that_came_whole_with_its_head_and_broke_behind_its_end_is_charged_truly(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    events = content(WORDS) + USAGE + DONE
    sent = b"%x\r\n%b\r\n" % (len(events), events)
    upstream.script(Response(raw=STREAM_HEAD + CHUNKED + sent + BROKEN_CHUNKS["no size"]))
    response = await post(http, holder, STREAM)
    assert response.status_code == 200
    assert response.content.startswith(content(WORDS))
    assert b"[DONE]" in response.content
    await assert_cost(pool, holder, REPORTED)


async def test_an_upstream_that_falls_silent_within_a_stream_ends_it_with_an_error_event(
    pool: Pool,
    sdk: Sdk,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(event_stream(content(WORDS), Gate(), USAGE, DONE))
    stream = await sdk(holder).chat.completions.create(**STREAM)
    texts: list[str] = []

    async def read() -> None:
        async for part in stream:
            texts.append(part.choices[0].delta.content)  # noqa: PERF401 - kept when it raises

    with pytest.raises(openai.APIError, match="broke off"):
        await read()
    assert texts == [WORDS]
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    await assert_cost(pool, holder, COUNTED)


async def test_an_upstream_that_falls_silent_within_a_document_is_a_424_that_is_counted(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(body=[document(b"")[:-1], Gate(), b"}"]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, COUNTED)


async def test_what_follows_an_answer_on_its_connection_never_answers_somebody_else(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    body = document(b',"usage":' + GOOD)
    head = OK_HEAD + b"content-length: %d\r\n\r\n" % len(body)
    forged = document(b',"usage":' + LARGER)
    surplus = OK_HEAD + b"content-length: %d\r\n\r\n" % len(forged) + forged
    held = Gate()
    upstream.script(Response(raw=[head + body + surplus, held]), Response(body=body))
    other = await create_holder(pool, BALANCE)
    before = upstream.connections
    assert (await post(http, holder)).content == body
    assert (await post(http, other)).content == body
    held.open()
    assert upstream.connections > before
    for charged in (holder, other):
        await assert_cost(pool, charged, REPORTED)


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
async def test_interim_answers_before_the_answer_are_not_the_answer(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    framing: Framing,
) -> None:
    body = document(b',"usage":' + GOOD)
    length = b"content-length: %d\r\n\r\n" % len(body)
    framed = length + body
    if framing is Framing.CHUNKED:
        framed = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"
    upstream.script(Response(raw=interim + OK_HEAD + framed))
    response = await post(http, holder)
    assert (response.status_code, response.content) == (200, body)
    await assert_cost(pool, holder, REPORTED)


# --- answers without an end: bounded memory -----------------------------------------------------


def resident_bytes() -> int:
    """What this process has in memory now: product, upstream and client."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


@dataclass
class Read:
    """What a client saw of an answer too large to keep."""

    status: int = 0
    received: int = 0
    last: bytes = b""
    memory: int = 0
    """The most that was in memory at any piece, beyond what was there before."""


async def read_through(http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any]) -> Read:
    """Ask, and let go of every piece of the answer."""
    before = resident_bytes()
    seen = Read()
    request = http.stream("POST", "/v1/chat/completions", json=body, headers=holder.headers)
    async with request as response:
        seen.status = response.status_code
        async for piece in response.aiter_raw():
            seen.received += len(piece)
            seen.last = (seen.last + piece)[-4096:]
            seen.memory = max(seen.memory, resident_bytes() - before)
    return seen


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="memory is looked up in /proc"
)
FILLER = b"a b c d " * (MEGABYTE // 8)


@needs_proc
@pytest.mark.parametrize("usage", [b',"usage":' + GOOD, b""], ids=["usage", "no usage"])
async def test_a_document_of_200_megabytes_passes_in_bounded_memory_and_is_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, usage: bytes
) -> None:
    opening = b'{"choices":[{"index":0,"message":{"content":"one two three"},"padding":"'
    upstream.script(Response(body=[opening, *[FILLER] * 200, b'"}]' + usage + b"}"]))
    seen = await read_through(http, holder, CHAT)
    assert seen.status == 200
    assert seen.received > 200 * MEGABYTE
    assert seen.memory < MEMORY_MAX
    await assert_cost(pool, holder, REPORTED if usage else COUNTED)


@needs_proc
@pytest.mark.parametrize("asked_for", [True, False])
async def test_a_line_of_200_megabytes_passes_in_bounded_memory_and_is_charged(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    asked_for: bool,
) -> None:
    line = [b'data: {"id":"c","padding":"', *[FILLER] * 200, b'"}\n\n']
    upstream.script(event_stream(content(WORDS), *line, USAGE, DONE))
    body = {**STREAM, "stream_options": {"include_usage": asked_for}}
    seen = await read_through(http, holder, body)
    assert seen.received > 200 * MEGABYTE
    assert seen.last.endswith(DONE)
    assert seen.memory < MEMORY_MAX
    await assert_cost(pool, holder, REPORTED)


@needs_proc
async def test_a_line_that_never_ends_is_passed_on_and_its_break_is_told(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    parts = [content(WORDS), b'data: {"id":"c","padding":"', *[FILLER] * 100]
    size = sum(map(len, parts))
    upstream.script(
        Response(
            headers=[("content-type", "text/event-stream")],
            body=[*parts, b"never sent"],
            framing=Framing.CHUNKED,
            cut_after=size,
        )
    )
    seen = await read_through(http, holder, STREAM)
    assert seen.received > size
    assert seen.memory < MEMORY_MAX
    assert b"upstream_incomplete" in seen.last
    await assert_cost(pool, holder, COUNTED)


@needs_proc
async def test_a_document_too_large_to_keep_that_breaks_off_breaks_off_for_the_client_too(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    opening = b'{"choices":[{"index":0,"message":{"content":"one two three"},"padding":"'
    upstream.script(
        Response(body=[opening, *[FILLER] * 20, b"never sent"], cut_after=20 * MEGABYTE)
    )
    with pytest.raises(httpx2.RemoteProtocolError):
        await read_through(http, holder, CHAT)
    await assert_cost(pool, holder, COUNTED)


@needs_proc
async def test_a_head_without_end_is_refused_in_bounded_memory(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    before = resident_bytes()
    upstream.script(Response(raw=[OK_HEAD + b"x-endless: ", *[b"x" * MEGABYTE] * 200]))
    assert_incomplete(await post(http, holder))
    assert resident_bytes() - before < MEMORY_MAX
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_a_small_document_in_the_same_manner_is_what_the_large_ones_say(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    upstream.script(json_response({"choices": [], "usage": usage}))
    seen = await read_through(http, holder, CHAT)
    assert seen.status == 200
    await assert_cost(pool, holder, REPORTED)

"""What passes for an HTTP request, and how a connection ends; on real sockets, byte by byte."""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import threading
from typing import TYPE_CHECKING, ClassVar, cast

import pytest
from uvicorn.server import ServerState

from tests.support import hostile
from tokenbalance.wire.server.framing import CHUNK_OVERHEAD_BYTES_MAX
from tokenbalance.wire.server.lifecycle import build_config
from tokenbalance.wire.server.protocol import PIPELINED_REQUESTS_MAX, HttpProtocol
from tokenbalance.wire.server.request_head import HEAD_BYTES_MAX, HEAD_FIELDS_MAX, URL_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uvicorn._types import (
        ASGIApplication,
        ASGIReceiveCallable,
        ASGISendCallable,
        HTTPScope,
    )

HOST = "127.0.0.1"
# When the application below gives up on a client that stalls in its body, as the product does.
BODY_TIMEOUT_S = 1.0


class QuickProtocol(HttpProtocol):
    head_timeout_s: ClassVar[float] = 0.3
    linger_timeout_s: ClassVar[float] = 0.3


class Echo:
    """Answers with what it was given, and remembers how each request ended for it."""

    def __init__(self) -> None:
        self.endings: queue.Queue[str] = queue.Queue()

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["path"] == "/early":
            await response(send, 413, b"too large")
            return
        if scope["path"] == "/half":
            await start(send, 200)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
        try:
            body = await asyncio.wait_for(self.read(receive), BODY_TIMEOUT_S)
        except TimeoutError:
            await response(send, 408, b"too slow")
            return
        if body is None:
            return
        if scope["path"] == "/half":
            await send({"type": "http.response.body", "body": b"two", "more_body": False})
            return
        document = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [
                [name.decode(), value.decode("latin-1")] for name, value in scope["headers"]
            ],
            "body": body.decode("latin-1"),
        }
        await response(send, 200, json.dumps(document).encode())

    async def read(self, receive: ASGIReceiveCallable) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.endings.put("disconnect")
                return None
            body += message["body"]
            if not message["more_body"]:
                self.endings.put("complete")
                return body


async def response(send: ASGISendCallable, status: int, body: bytes) -> None:
    await start(send, status, (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def start(send: ASGISendCallable, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
    )


class Served:
    """The echo behind our protocol, on the event loop of the product, in its own thread."""

    def __init__(self, protocol: type[HttpProtocol]) -> None:
        self.echo = Echo()
        self._protocol = protocol
        self._config = build_config(
            lambda: cast("ASGIApplication", self.echo), log_level="critical"
        )
        self._config.load()
        self._state = ServerState()
        self._loop = (self._config.get_loop_factory() or asyncio.new_event_loop)()
        self._server = self._loop.run_until_complete(
            self._loop.create_server(self._connection, HOST, 0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def _connection(self) -> asyncio.Protocol:
        return self._protocol(self._config, self._state, {}, self._loop)

    def stop(self) -> None:
        async def close() -> None:
            self._server.close()
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        gc.collect()

    async def play(
        self, *pieces: bytes, half_close: bool = False, close_s: float | None = None
    ) -> hostile.Outcome:
        """Send `pieces` with a pause between them and collect what comes back."""
        case = hostile.Case(
            id="hand-made",
            category="http-framing",
            why="",
            method="HEAD" if pieces[0].startswith(b"HEAD") else "POST",
            pieces=pieces,
            pause_s=0.05,
            half_close=half_close,
            expect_status=frozenset(),
            expect_code=frozenset(),
            upstream_max=0,
            max_responses=None,
            expect_close_s=close_s,
            max_seconds=None,
            forbidden=None,
            fields={},
        )
        return await hostile.send(case, HOST, self.port, quiet_s=0.15, patience_s=10)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served(QuickProtocol)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def patient() -> Iterator[Served]:
    """With the timeouts of the product."""
    server = Served(HttpProtocol)
    yield server
    server.stop()


def assert_refused(outcome: hostile.Outcome, status: int, code: str = "invalid_request") -> None:
    """One answer in OpenAI's envelope, the connection ended, nothing reached the application."""
    assert outcome.statuses == [status]
    assert outcome.closed
    response = outcome.responses[0]
    assert response.code == code
    assert set(json.loads(response.body)["error"]) == {"message", "type", "param", "code"}
    assert dict(response.headers)["content-type"] == "application/json"
    assert dict(response.headers)["connection"] == "close"


def post(*fields: bytes, body: bytes = b"", path: bytes = b"/v1/x") -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, b"Host: a", *fields, b"", body]
    return b"\r\n".join(lines)


CHUNKED = b"Transfer-Encoding: chunked"
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"


# Framing.


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n"),
        post(CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n"),
        post(b"Content-Length: 2", b"Content-Length: 3", body=b"abc"),
        post(b"Content-Length: +2", body=b"ab"),
        post(b"Content-Length: 18446744073709551621", body=b"ab"),
        post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
        post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
        post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n",
        post(CHUNKED, body=b"5;a\nhello\r\n0\r\n\r\n"),
        post(CHUNKED, body=b"ffffffffffffffff1\r\nx\r\n0\r\n\r\n"),
        post(b"X: a\x00b"),
        post(b"X: a\x01b"),
        post(b"X: a\rb"),
        post(b"X: a", b" folded"),
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/?x=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / \r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda request_bytes: repr(request_bytes[-60:]),
)
async def test_an_ambiguous_request_is_refused_and_the_connection_ends(
    served: Served, request_bytes: bytes
) -> None:
    assert_refused(await served.play(request_bytes + GET), 400)


@pytest.mark.parametrize(
    "target",
    [b"/v1/x?y#z", b"/v1/\xc5\xbf", b"http://evil.example/v1/x", b"http://a@evil.example/", b"a:1"],
)
async def test_a_target_that_is_not_a_path_here_is_an_unknown_url(
    served: Served, target: bytes
) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target
    assert_refused(await served.play(request), 400, "unknown_url")


async def test_connect_is_refused(served: Served) -> None:
    request = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n"
    assert_refused(await served.play(request), 400, "unknown_url")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://A:80", b"a:80"),
        (b"http://a:80", b"A"),
        (b"HTTP://a", b"a:80"),
        (b"https://a", b"a:443"),
        (b"https://a:8443", b"a:8443"),
    ],
)
async def test_an_absolute_url_of_this_host_is_its_path(
    served: Served, origin: bytes, host: bytes
) -> None:
    outcome = await served.play(b"GET %s/v1/x?y HTTP/1.1\r\nHost: %s\r\n\r\n" % (origin, host))
    document = json.loads(outcome.responses[0].body)
    assert (document["path"], document["query"]) == ("/v1/x", "y")


@pytest.mark.parametrize("host", [b"a", b"a:80", b"[::1]:80", b"", b"x_y.example"])
async def test_a_usual_host_is_taken(served: Served, host: bytes) -> None:
    outcome = await served.play(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
    assert outcome.statuses == [200]


async def test_http_1_0_needs_no_host(served: Served) -> None:
    outcome = await served.play(b"GET / HTTP/1.0\r\n\r\n")
    assert outcome.statuses == [200]
    assert outcome.closed


async def test_a_trailer_is_read_and_does_not_become_a_header(served: Served) -> None:
    head = post(b"Trailer: Authorization", CHUNKED)
    outcome = await served.play(
        head + b"2\r\nhi\r\n", b"0\r\nAuthorization: Bearer x\r\n\r\n" + GET
    )
    assert outcome.statuses == [200, 200]
    document = json.loads(outcome.responses[0].body)
    assert document["body"] == "hi"
    assert "authorization" not in dict(document["headers"])


# Sizes.


@pytest.mark.parametrize("step", [None, 4096])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
async def test_a_head_over_the_limit_is_refused_whole_or_endless(
    patient: Served, step: int | None, end: bytes
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * HEAD_BYTES_MAX + end
    assert_refused(await patient.play(*pieces(request, step)), 431, "request_too_large")


async def test_a_head_just_below_the_limit_is_taken(served: Served) -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    request = start + b"X: " + b"a" * (HEAD_BYTES_MAX - len(start) - 7) + b"\r\n\r\n"
    assert len(request) == HEAD_BYTES_MAX
    assert (await served.play(request)).statuses == [200]


async def test_a_small_head_in_one_read_with_a_large_body_is_taken(served: Served) -> None:
    body = b"x" * 3 * HEAD_BYTES_MAX
    outcome = await served.play(post(b"Content-Length: %d" % len(body), body=body))
    assert outcome.statuses == [200]


async def test_too_many_headers_are_refused(served: Served) -> None:
    fields = [b"X: y"] * HEAD_FIELDS_MAX
    assert_refused(await served.play(post(*fields)), 431, "request_too_large")


@pytest.mark.parametrize(
    ("length", "end"),
    [
        (URL_BYTES_MAX, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (HEAD_BYTES_MAX, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (HEAD_BYTES_MAX, b""),
    ],
)
async def test_a_url_over_the_limit_is_refused(patient: Served, length: int, end: bytes) -> None:
    request = b"GET /" + b"a" * length + end
    assert_refused(await patient.play(request), 414, "request_too_large")


@pytest.mark.parametrize("step", [None, 1024])
async def test_huge_chunk_extensions_are_refused(patient: Served, step: int | None) -> None:
    extension = b"a" * (CHUNK_OVERHEAD_BYTES_MAX + 100)
    request = post(CHUNKED, body=b"1;%s\r\nx\r\n0\r\n\r\n" % extension)
    assert_refused(await patient.play(*pieces(request, step)), 400)


async def test_huge_trailers_are_refused(served: Served) -> None:
    trailer = b"X: " + b"a" * (CHUNK_OVERHEAD_BYTES_MAX + 100)
    request = post(CHUNKED, body=b"1\r\nx\r\n0\r\n%s\r\n\r\n" % trailer)
    assert_refused(await served.play(request), 400)


async def test_many_one_byte_chunks_are_a_body_like_any_other(served: Served) -> None:
    body = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    outcome = await served.play(post(CHUNKED, body=body))
    assert json.loads(outcome.responses[0].body)["body"] == "x" * 20_000


async def test_blank_lines_without_end_are_refused(patient: Served) -> None:
    assert_refused(await patient.play(b"\r\n" * HEAD_BYTES_MAX), 400)


def pieces(request: bytes, step: int | None) -> list[bytes]:
    if step is None:
        return [request]
    return [request[i : i + step] for i in range(0, len(request), step)]


# Time.


async def test_a_head_that_never_ends_is_answered_with_408(served: Served) -> None:
    outcome = await served.play(b"POST / HTTP/1.1\r\nHost: a\r\nX-a: b\r\n", close_s=2)
    assert_refused(outcome, 408, "request_timeout")
    assert (outcome.closed_after_s or 0) >= 0.25


async def test_bytes_that_trickle_in_do_not_extend_the_time_for_a_head(served: Served) -> None:
    trickle = [b"GET / HTTP/1.1\r\nHost: a\r\nX: "] + [b"a"] * 100
    outcome = await served.play(*trickle, close_s=2)
    assert_refused(outcome, 408, "request_timeout")


async def test_a_connection_without_a_request_ends_silently(served: Served) -> None:
    outcome = await served.play(b"", close_s=2)
    assert outcome.closed
    assert outcome.received == b""


async def test_a_later_head_on_the_same_connection_has_the_same_time(served: Served) -> None:
    outcome = await served.play(GET, b"GET / HT", close_s=2)
    assert outcome.statuses == [200, 408]
    assert outcome.closed


async def test_a_head_begun_behind_another_request_has_the_same_time(served: Served) -> None:
    outcome = await served.play(GET + b"GET / HT", close_s=2)
    assert outcome.statuses == [200, 408]
    assert outcome.closed


async def test_an_idle_connection_outlives_the_time_for_a_head(served: Served) -> None:
    outcome = await served.play(GET, *[b""] * 10, GET)
    assert outcome.statuses == [200, 200]
    assert not outcome.closed


# Bodies and connections.


async def test_a_body_that_ends_early_is_a_disconnect(served: Served) -> None:
    served.echo.endings = queue.Queue()
    request = post(b"Content-Length: 500", body=b"{}")
    outcome = await served.play(request, half_close=True, close_s=2)
    assert outcome.statuses == []
    assert outcome.closed
    assert await asyncio.to_thread(served.echo.endings.get, timeout=5) == "disconnect"


async def test_a_malformed_chunk_after_the_head_is_refused_and_is_a_disconnect(
    served: Served,
) -> None:
    served.echo.endings = queue.Queue()
    outcome = await served.play(post(CHUNKED), b"2\r\nhi\r\nzz\r\n" + GET)
    assert_refused(outcome, 400)
    assert await asyncio.to_thread(served.echo.endings.get, timeout=5) == "disconnect"


async def test_a_refusal_never_lands_in_an_answer_under_way(served: Served) -> None:
    outcome = await served.play(post(CHUNKED, path=b"/half"), b"zz\r\n")
    assert outcome.statuses == [200]
    assert outcome.received.endswith(b"\r\n\r\n3\r\none\r\n")
    assert outcome.closed


async def test_a_malformed_request_behind_a_good_one_costs_only_itself(served: Served) -> None:
    outcome = await served.play(GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
    assert outcome.statuses == [200]
    assert outcome.closed


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    paths = [b"/%d" % number for number in range(5)]
    requests = [b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths]
    outcome = await served.play(b"".join(requests))
    assert [json.loads(response.body)["path"].encode() for response in outcome.responses] == paths


async def test_pipelining_without_measure_ends_after_the_first_answer(served: Served) -> None:
    outcome = await served.play(GET * (PIPELINED_REQUESTS_MAX + 3))
    assert outcome.statuses == [200]
    assert outcome.closed


async def test_an_answer_before_the_body_says_close_and_reaches_a_client_that_still_sends(
    patient: Served,
) -> None:
    size = 20_000_000
    request = post(b"Content-Length: %d" % size, path=b"/early", body=b"x" * size)
    outcome = await patient.play(request)
    assert outcome.statuses == [413]
    assert dict(outcome.responses[0].headers)["connection"] == "close"
    assert outcome.responses[0].body == b"too large"


async def test_an_answer_before_a_body_that_never_comes_ends_the_connection(served: Served) -> None:
    request = post(b"Content-Length: 10737418240", path=b"/early")
    outcome = await served.play(request, close_s=2)
    assert outcome.statuses == [413]
    assert outcome.closed


async def test_a_connection_stays_open_after_a_body(served: Served) -> None:
    request = post(b"Content-Length: 2", body=b"hi")
    outcome = await served.play(request[:-1], request[-1:], request)
    assert outcome.statuses == [200, 200]
    assert not outcome.closed
    assert "connection" not in dict(outcome.responses[0].headers)


async def test_expect_continue_is_answered_before_the_body(served: Served) -> None:
    outcome = await served.play(post(b"Expect: 100-continue", b"Content-Length: 2"), b"hi")
    assert outcome.informational == [100]
    assert outcome.statuses == [200]


@pytest.mark.parametrize("kind", [b"h2c", b"websocket"])
async def test_an_upgrade_is_ignored_and_the_body_still_read(served: Served, kind: bytes) -> None:
    upgrade = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + kind, b"X: y"]
    request = post(*upgrade, b"Content-Length: 4", body=b"body")
    outcome = await served.play(request[:-2], request[-2:] + GET)
    assert outcome.statuses == [200, 200]
    document = json.loads(outcome.responses[0].body)
    assert document["body"] == "body"
    assert dict(document["headers"])["x"] == "y"


# What is collected of such attacks.


@pytest.mark.parametrize(
    "case", hostile.load_cases(category="http-framing"), ids=lambda case: case.id
)
async def test_a_recorded_framing_attack_ends_as_expected(
    patient: Served, case: hostile.Case
) -> None:
    host = f"{HOST}:{patient.port}"
    filled = case.filled({"KEY": "sk-key", "HOST": host})
    outcome = await hostile.send(filled, HOST, patient.port, patience_s=15)
    complaints = hostile.check(filled, outcome)
    # The echo knows no keys: what only authentication refuses, it may answer.
    if 401 in case.expect_status and outcome.statuses == [200]:
        complaints = [text for text in complaints if "status 200" not in text]
    assert complaints == []

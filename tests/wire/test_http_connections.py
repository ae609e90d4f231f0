"""How long a client may take, and how a connection goes on and ends; on real sockets."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import TYPE_CHECKING

import pytest

from tests.support.echo_server import CHUNKED, GET, assert_refused, post
from tokenbalance.wire.server.protocol import PIPELINED_REQUESTS_MAX

if TYPE_CHECKING:
    from tests.support.echo_server import Served


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

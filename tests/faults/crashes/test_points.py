"""kill -9 of the server at every point of a request; after the restart the books are right.

They agree with what the upstream says it answered: where the usage had reached the journal or the
books it is charged, exactly; where it had not, the request is charged what is known of it, and
flagged; what was never sent costs nothing. Each is charged once, however often it is replayed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.crashing import KILLED, Point
from tests.support.installation import (
    BOTH_KINDS,
    ENDPOINT,
    ENDS,
    ESTIMATED,
    EXACT,
    LIMIT_S,
    NEVER_PLACED,
    POLL_S,
    VOIDED,
    End,
    Installation,
    parts,
    responded,
)
from tests.support.upstream import Gate, Received, Response, event_stream, json_response
from tokenbalance.openai.estimate import UsageCounter

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool


ENDS_OF_AN_ERROR = {
    # What the upstream answered, nobody can know any more.
    Point.ERROR_SEEN: ESTIMATED,
    Point.VOIDING: VOIDED,
    Point.VOIDED: VOIDED,
    Point.CLEARING: VOIDED,
    Point.CLEARED: VOIDED,
}


async def die_twice(installation: Installation, point: Point, document: dict[str, Any]) -> None:
    """Die in the first request; then, having taken that over, in the second one."""
    for hit in (1, 2):
        server = await installation.serve(point, hit)
        if hit == 2:
            assert await installation.ask(server, document) is not None
        assert await installation.ask(server, document) is None
        assert await server.ended() == KILLED
        assert len(installation.journals()) == 1


@BOTH_KINDS
@pytest.mark.parametrize(
    ("point", "end"), [pytest.param(*item, id=item[0].name) for item in ENDS.items()]
)
async def test_the_books_are_right_after_a_death_at(
    installation: Installation, document: dict[str, Any], point: Point, end: End | None
) -> None:
    await die_twice(installation, point, document)
    await installation.restart()
    await installation.check([end, EXACT, end])
    never_sent = 2 if end in {VOIDED, NEVER_PLACED} or point is Point.DISPATCHED else 0
    assert len(installation.upstream.requests) == 3 - never_sent


@pytest.mark.parametrize(
    ("point", "end"), [pytest.param(*item, id=item[0].name) for item in ENDS_OF_AN_ERROR.items()]
)
async def test_the_books_are_right_after_a_death_in_a_refused_request_at(
    installation: Installation, point: Point, end: End
) -> None:
    installation.upstream.always(json_response({"error": {"message": "no"}}, 500))
    await die_twice(installation, point, CHAT)
    await installation.restart()
    await installation.check([end, VOIDED, end])


@BOTH_KINDS
@pytest.mark.parametrize("sent", [pytest.param(None, id="before-the-head"), 1])
async def test_what_the_upstream_had_begun_to_answer_is_charged_by_estimate(
    installation: Installation, document: dict[str, Any], sent: int | None
) -> None:
    gate = Gate()

    def stopping(request: Received) -> Response:
        if sent is None:
            return responded(request, [*parts(request)], gate)
        pieces = parts(request)
        return responded(request, [*pieces[:sent], gate, *pieces[sent:]])

    installation.upstream.script(stopping)
    server = await installation.serve()
    asking = asyncio.create_task(installation.ask(server, document))
    await gate.reached.wait()
    await server.kill()
    assert await asking is None
    await installation.restart()
    await installation.check([ESTIMATED])


async def test_usage_that_was_seen_before_the_end_of_a_stream_is_charged(
    installation: Installation,
) -> None:
    gate = Gate()
    installation.upstream.script(event_stream(content("One two"), USAGE, gate, DONE))
    server = await installation.serve()
    asking = asyncio.create_task(installation.ask(server, STREAM))
    async with asyncio.timeout(LIMIT_S):
        while not any(b"\nu " in journal.read_bytes() for journal in installation.journals()):
            await asyncio.sleep(POLL_S)
    await server.kill()
    assert await asking is None
    await installation.restart()
    await installation.check([EXACT])


@pytest.mark.usefixtures("short_leases")
@pytest.mark.parametrize("data", ["data", "data of another replica"])
async def test_what_the_last_heartbeat_had_noted_of_a_stream_is_charged(
    installation: Installation, data: str
) -> None:
    gate, text = Gate(), "One two three four five"
    installation.upstream.script(event_stream(content(text), gate, DONE))
    server = await installation.serve()
    asking = asyncio.create_task(installation.ask(server, STREAM))
    await until_noted(installation.pool)
    await server.kill()
    assert await asking is None
    successor = await installation.serve(data=data)
    await installation.until_none_is_open()
    await successor.stop()
    counted = UsageCounter(ENDPOINT, STREAM)(text)
    assert counted.output >= 5
    await installation.check([("expired", counted.total, True)])


async def until_noted(pool: Pool) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await pool.fetchval("SELECT max(known_output) FROM open_holds"):
            await asyncio.sleep(POLL_S)


@BOTH_KINDS
async def test_who_has_the_answer_has_been_charged(
    installation: Installation, document: dict[str, Any]
) -> None:
    server = await installation.serve()
    response = await installation.ask(server, document)
    await server.kill()
    assert response is not None
    assert "One two" in response
    await installation.check([EXACT])
    await installation.restart()
    await installation.check([EXACT])

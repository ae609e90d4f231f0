"""kill -9 of the server at every point of a request; after the restart the books are right.

They agree with what the upstream says it answered: where the usage had reached the journal or the
books it is charged, exactly; where it had not, the request is charged what is known of it, and
flagged; what was never sent costs nothing. Each is charged once, however often it is replayed.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2
import orjson
import pytest

from tests.support.books import account_of, create_holder, entries_of
from tests.support.chat import CHAT, DONE, STREAM, USAGE, chunk, content
from tests.support.crashing import KILLED, Point, Server, Servers, settings_of
from tests.support.fault_proxy import FaultProxy, database_target, dsn_through
from tests.support.upstream import Gate, Received, Response, event_stream, json_response
from tokenbalance.books.ledger.audit import audit
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import UsageCounter, bound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import Part, ScriptedUpstream
    from tokenbalance.database.connections import Pool

GRANTED = 1_000_000
LIMIT_S = 15.0
POLL_S = 0.01
ENDPOINT = find_operation("POST", b"/chat/completions")
KNOWN = bound(ENDPOINT, CHAT).input_tokens
"""What is known of a request that was just sent: the bound of its input."""

End: TypeAlias = tuple[str, int | None, bool | None]
"""Of a hold: its state, the tokens charged, whether they are estimated."""
EXACT: End = ("settled", 12, False)
ESTIMATED: End = ("expired", KNOWN, True)
VOIDED: End = ("voided", None, None)

ENDS = {
    Point.BEGUN: VOIDED,
    Point.PLACED: VOIDED,
    Point.DISPATCHING: VOIDED,
    Point.DISPATCHED: ESTIMATED,
    Point.HEAD_CAME: ESTIMATED,
    Point.USAGE_SEEN: ESTIMATED,
    Point.USED: EXACT,
    Point.SETTLED: EXACT,
    Point.CLEARING: EXACT,
    Point.CLEARED: EXACT,
}
ENDS_OF_AN_ERROR = {
    # What the upstream answered, nobody can know any more.
    Point.ERROR_SEEN: ESTIMATED,
    Point.VOIDING: VOIDED,
    Point.VOIDED: VOIDED,
    Point.CLEARING: VOIDED,
    Point.CLEARED: VOIDED,
}
BOTH_KINDS = pytest.mark.parametrize(
    "document", [pytest.param(CHAT, id="json"), pytest.param(STREAM, id="stream")]
)


def usage_of(total: int) -> dict[str, Any]:
    return {"prompt_tokens": 9, "completion_tokens": total - 9, "total_tokens": total}


def parts(request: Received, text: str = "One two", total: int = 12) -> list[bytes]:
    """What the upstream answers, in pieces: the text, its usage, the end."""
    if request.json().get("stream"):
        return [content(text), chunk(choices=[], usage=usage_of(total)), DONE]
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = orjson.dumps({"choices": [choice], "usage": usage_of(total)})
    before, name, usage = document.partition(b'"usage"')
    return [before, name + usage[:-1], usage[-1:]]


def responded(request: Received, body: list[Part], head_gate: Gate | None = None) -> Response:
    streamed = request.json().get("stream")
    content_type = "text/event-stream" if streamed else "application/json"
    return Response(headers=(("content-type", content_type),), body=body, head_gate=head_gate)


def plainly(request: Received) -> Response:
    return responded(request, [*parts(request)])


def numbered(request: Received) -> Response:
    """An answer that tells which one it is by its text and by its usage."""
    text, total = f"This is number {request.number}.", 100 + request.number
    return responded(request, [*parts(request, text, total)])


@dataclass
class Installation:
    """One set of books, their upstream, and servers that come and go."""

    dsn: str
    pool: Pool
    holder: Holder
    upstream: ScriptedUpstream
    servers: Servers
    client: httpx2.AsyncClient
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    async def start(
        self, point: Point | None = None, hit: int = 1, *, data: str = "data", dsn: str = ""
    ) -> Server:
        """Start a server; it need not live to be ready."""
        settings = settings_of(dsn or self.dsn, self.upstream, self.folder / data)
        return await self.servers.start({**settings, **self.variables}, point, hit)

    async def serve(
        self, point: Point | None = None, hit: int = 1, *, data: str = "data", dsn: str = ""
    ) -> Server:
        """Start a server, and wait until it has taken over what dead ones left in its folder."""
        left = self.journals(data)
        server = await self.start(point, hit, data=data, dsn=dsn)
        await server.ready()
        await until(lambda: not any(path.exists() for path in left))
        return server

    async def restart(self, *, data: str = "data") -> None:
        """Let a server take over what there is, and stop; nothing is left behind."""
        server = await self.serve(data=data)
        assert await server.stop() == 0, self.servers.log()
        assert self.journals(data) == []

    def journals(self, data: str = "data") -> list[Path]:
        """Every file in a journal folder, of dead and living ones."""
        return sorted((self.folder / data).glob("journal/*/*"))

    async def ask(self, server: Server, document: dict[str, Any]) -> str | None:
        """Send a request; gives its answer, None when the server dies before its end."""
        try:
            response = await self.client.post(
                f"{await server.ready()}/v1/chat/completions",
                json=document,
                headers=self.holder.headers,
            )
        except (httpx2.NetworkError, httpx2.RemoteProtocolError):
            return None
        return response.text

    async def ends(self) -> list[End]:
        """How the holds have ended, oldest first."""
        rows = await self.pool.fetch(
            "SELECT h.state, u.total, u.estimated FROM holds h"
            " LEFT JOIN usage u USING (account_id, request_id)"
            " WHERE h.account_id = $1 ORDER BY h.created_at, h.request_id",
            self.holder.account_id,
        )
        return [(row["state"], row["total"], row["estimated"]) for row in rows]

    async def until_none_is_open(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while any(state == "open" for state, _, _ in await self.ends()):
                await asyncio.sleep(POLL_S)

    async def check(self, ends: list[End]) -> None:
        """The holds have ended like this, and everything else follows from it."""
        assert await self.ends() == ends
        await self.check_sums()

    async def check_sums(self) -> None:
        charged = sum(total or 0 for _, total, _ in await self.ends())
        account = await account_of(self.pool, self.holder)
        assert (account.balance, account.held) == (GRANTED - charged, 0)
        entries = await entries_of(self.pool, self.holder)
        assert sum(amount for _, amount, _ in entries) == account.balance
        assert (await audit(self.pool)).violations == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(POLL_S)


@pytest.fixture(scope="module")
async def all_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.fixture
async def servers(all_servers: Servers) -> AsyncIterator[Servers]:
    yield all_servers
    await all_servers.discard()


@pytest.fixture
async def installation(
    dsn: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    servers: Servers,
    client: httpx2.AsyncClient,
    tmp_path: Path,
) -> Installation:
    holder = await create_holder(pool, GRANTED)
    upstream.always(plainly)
    return Installation(dsn, pool, holder, upstream, servers, client, tmp_path)


@pytest.fixture
def short_leases(installation: Installation) -> None:
    installation.variables["TOKENBALANCE_LEASE_S"] = "1"


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
    installation: Installation, document: dict[str, Any], point: Point, end: End
) -> None:
    await die_twice(installation, point, document)
    await installation.restart()
    await installation.check([end, EXACT, end])
    never_sent = 2 if end == VOIDED or point is Point.DISPATCHED else 0
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
        while not await pool.fetchval("SELECT max(known_output) FROM holds"):
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


@pytest.mark.parametrize(
    "point",
    [Point.PLACED, Point.DISPATCHED, Point.USAGE_SEEN, Point.USED, Point.SETTLED, Point.CLEARED],
    ids=lambda point: point.name,
)
async def test_many_requests_die_together(installation: Installation, point: Point) -> None:
    installation.upstream.always(numbered)
    server = await installation.serve(point, hit=4)
    documents = [CHAT, STREAM] * 4
    responses = await asyncio.gather(*(installation.ask(server, one) for one in documents))
    assert await server.ended() == KILLED
    await installation.restart()

    ends = await installation.ends()
    assert {state for state, _, _ in ends} <= {"settled", "expired", "voided"}
    exact = [total for state, total, _ in ends if state == "settled"]
    totals = {100 + request.number for request in installation.upstream.requests}
    assert len(exact) == len(set(exact))
    assert set(exact) <= totals
    charged = [end for end in ends if end[0] != "voided"]
    assert len(charged) >= len(totals)
    assert all(end == ESTIMATED for end in charged if end[0] == "expired")
    for response in filter(None, responses):
        number = int(response.partition("number ")[2].partition(".")[0])
        assert 100 + number in exact
    await installation.check_sums()


@pytest.mark.usefixtures("short_leases")
@pytest.mark.parametrize(
    ("point", "lapsed", "corrected"),
    [
        pytest.param(Point.PLACED, ESTIMATED, ("expired", 0, False), id="PLACED"),
        pytest.param(Point.DISPATCHED, ESTIMATED, ESTIMATED, id="DISPATCHED"),
        pytest.param(Point.USED, ESTIMATED, ("expired", 12, False), id="USED"),
        pytest.param(Point.SETTLED, EXACT, EXACT, id="SETTLED"),
    ],
)
async def test_a_journal_that_turns_up_later_corrects_what_had_expired(
    installation: Installation, point: Point, lapsed: End, corrected: End
) -> None:
    server = await installation.serve(point)
    assert await installation.ask(server, CHAT) is None
    assert await server.ended() == KILLED
    (journal,) = installation.journals()
    shutil.copy(journal, installation.folder / "copy")

    replica = await installation.serve(data="data of another replica")
    await installation.until_none_is_open()
    await installation.check([lapsed])
    assert await replica.stop() == 0

    difference = (lapsed[1] or 0) - (corrected[1] or 0)
    for _ in range(2):
        await installation.restart()
        await installation.check([corrected])
        entries = await entries_of(installation.pool, installation.holder)
        adjustments = [amount for kind, amount, _ in entries if kind == "adjustment"]
        assert adjustments == ([difference] if difference else [])
        # Once more, as if its removal had not reached the disk.
        shutil.copy(installation.folder / "copy", journal)


@pytest.mark.parametrize(
    "point",
    [Point.PLACED, Point.DISPATCHED, Point.USED, Point.SETTLED],
    ids=lambda point: point.name,
)
async def test_a_replay_of_a_replay_changes_nothing(
    installation: Installation, point: Point
) -> None:
    server = await installation.serve(point)
    assert await installation.ask(server, CHAT) is None
    assert await server.ended() == KILLED
    (journal,) = installation.journals()
    shutil.copy(journal, installation.folder / "copy")

    successor = await installation.serve()
    assert await successor.stop() == 0
    await installation.check([ENDS[point]])
    before = await entries_of(installation.pool, installation.holder)

    shutil.copy(installation.folder / "copy", journal)
    await installation.restart()
    await installation.check([ENDS[point]])
    assert await entries_of(installation.pool, installation.holder) == before


@pytest.fixture
async def left_behind(installation: Installation) -> list[End]:
    """A dead server's journal of a used and two dispatched requests; gives how they should end."""
    gates = [Gate(), Gate()]
    installation.upstream.script(
        *(event_stream(content("One"), gate, content("two"), DONE) for gate in gates)
    )
    server = await installation.serve(Point.USED)
    asking = [asyncio.create_task(installation.ask(server, STREAM)) for _ in gates]
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    assert await installation.ask(server, CHAT) is None
    assert await asyncio.gather(*asking) == [None, None]
    assert await server.ended() == KILLED
    return [ESTIMATED, ESTIMATED, EXACT]


@pytest.mark.parametrize("hit", [1, 2, 3])
async def test_a_death_in_the_middle_of_a_replay_is_made_good_by_the_next(
    installation: Installation, left_behind: list[End], hit: int
) -> None:
    dying = await installation.start(Point.REPLAYED, hit)
    assert await dying.ended() == KILLED
    dying = await installation.start(Point.PUTTING_AWAY)
    assert await dying.ended() == KILLED
    await installation.restart()
    await installation.check(left_behind)


async def test_servers_that_start_at_once_replay_a_journal_once(
    installation: Installation, left_behind: list[End]
) -> None:
    (left,) = installation.journals()
    started = [await installation.start() for _ in range(3)]
    for server in started:
        await server.ready()
    await until(lambda: not left.exists())
    await installation.check(left_behind)
    assert [await server.stop() for server in started] == [0, 0, 0]
    assert installation.journals() == []
    await installation.check(left_behind)


@asynccontextmanager
async def asking_through(
    installation: Installation, document: dict[str, Any], point: Point | None
) -> AsyncGenerator[tuple[FaultProxy, Gate, Server, asyncio.Task[str | None]]]:
    """A server behind a database that can fail, with an answer under way."""
    gate = Gate()
    # One connection, on which a first request has prepared every statement of the second.
    installation.variables["DATABASE_POOL_SIZE"] = "1"
    async with FaultProxy(database_target(installation.dsn)) as proxy:
        server = await installation.serve(point, dsn=dsn_through(proxy, installation.dsn))
        assert await installation.ask(server, document) is not None
        installation.upstream.script(lambda request: responded(request, [gate, *parts(request)]))
        asking = asyncio.create_task(installation.ask(server, document))
        await gate.reached.wait()
        yield proxy, gate, server, asking


@BOTH_KINDS
async def test_a_settlement_that_the_database_refused_is_in_the_journal(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, Point.SYNCED) as (
        proxy,
        gate,
        server,
        asking,
    ):
        proxy.cut()
        gate.open()
        assert await server.ended() == KILLED
        assert await asking is None
    await installation.restart()
    await installation.check([EXACT, EXACT])


@BOTH_KINDS
async def test_who_was_answered_without_a_database_is_charged_after_the_death(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, None) as (proxy, gate, server, asking):
        proxy.cut()
        gate.open()
        assert await asking is not None
        await server.kill()
    assert [state for state, _, _ in await installation.ends()] == ["settled", "open"]
    await installation.restart()
    await installation.check([EXACT, EXACT])


@BOTH_KINDS
async def test_a_settlement_whose_acknowledgement_was_lost_is_not_repeated(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, None) as (proxy, gate, server, asking):
        proxy.drop_responses()
        gate.open()
        await installation.until_none_is_open()
        await server.kill()
        assert await asking is None
    assert len(installation.journals()) == 1
    await installation.restart()
    await installation.check([EXACT, EXACT])


async def test_a_placement_still_under_way_when_its_process_died_gets_a_tombstone(
    installation: Installation,
) -> None:
    server = await installation.serve()
    async with installation.pool.acquire() as session, session.transaction():
        await session.execute("SELECT FROM accounts FOR NO KEY UPDATE")
        asking = asyncio.create_task(installation.ask(server, CHAT))
        await until_placing(installation.pool, 1)
        await server.kill()
        assert await asking is None
        await installation.restart()
        await until_placing(installation.pool, 1)
    await until_placing(installation.pool, 0)
    await installation.check([VOIDED])
    assert installation.upstream.requests == []


async def until_placing(pool: Pool, count: int) -> None:
    """Wait until so many holds are being placed, be it for somebody who is dead."""
    async with asyncio.timeout(LIMIT_S):
        while count != await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            # A statement that is only being prepared is active, too.
            " AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO holds%'"
        ):
            await asyncio.sleep(POLL_S)

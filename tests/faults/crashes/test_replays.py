"""Journals of killed servers: replayed late, twice, by several servers, and killed in between."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from tests.support.books import entries_of
from tests.support.chat import CHAT, DONE, STREAM, content
from tests.support.crashing import KILLED, Point
from tests.support.installation import ENDS, ESTIMATED, EXACT, End, Installation, numbered, until
from tests.support.upstream import Gate, event_stream


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

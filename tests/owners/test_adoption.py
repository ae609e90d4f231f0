"""What a dead process has noted, another one records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.owners.conftest import new_keeping
from tokenbalance.model.objects import Found
from tokenbalance.owners.lines import HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.owners.conftest import Keeping
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_lines_of_a_process_are_its_own_until_it_is_dead(
    here: Keeping, beside: Keeping, maker: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    beside.owners.note(maker.caller, [Found("file", "a-1"), Found("item", "a-2", "a-1")])
    await here.upkeep.step()
    assert await here.has(maker, "a-1") == []
    beside.journal.close()
    await here.upkeep.step()
    assert await here.has(maker, "a-1") == ["a-1"]
    assert await here.has(maker, "a-2", kind="item") == ["a-2"]
    assert here.files() == []
    assert "1 lines of objects recorded from a dead process" in caplog.text


@pytest.mark.parametrize("torn", [1, 5, 40])
async def test_a_line_that_was_written_in_part_hides_no_other(
    here: Keeping, beside: Keeping, maker: Holder, torn: int
) -> None:
    beside.owners.note(maker.caller, [Found("file", f"b-{torn}")])
    beside.owners.note(maker.caller, [Found("file", f"c-{torn}")])
    (path,) = beside.files()
    beside.journal.close()
    path.write_bytes(path.read_bytes()[:-torn])
    await here.upkeep.step()
    assert await here.has(maker, f"b-{torn}", f"c-{torn}") == [f"b-{torn}"]
    assert here.files() == []


async def test_a_file_with_a_damaged_line_is_put_aside_after_the_others_are_recorded(
    here: Keeping, beside: Keeping, maker: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("d-1", "d-2", "d-3"):
        beside.owners.note(maker.caller, [Found("file", name)])
    (path,) = beside.files()
    beside.journal.close()
    path.write_bytes(path.read_bytes().replace(b"d-2", b"d-9"))
    await here.upkeep.step()
    assert await here.has(maker, "d-1", "d-2", "d-3", "d-9") == ["d-1", "d-3"]
    assert [file.suffix for file in here.files()] == [".unmatched"]
    assert "1 of its lines cannot be read or recorded" in caplog.text


@pytest.mark.parametrize("text", [b"", HEADER[:9], HEADER])
async def test_a_process_that_died_before_its_first_line_leaves_nothing(
    here: Keeping, text: bytes
) -> None:
    assert here.journal.folder is not None
    here.journal.folder.mkdir(exist_ok=True)
    (here.journal.folder / "1-dead.objects").write_bytes(text)
    (here.journal.folder / "1-dead.new").write_bytes(text)
    await here.upkeep.step()
    assert here.files() == []


async def test_a_format_that_is_not_known_is_left_alone(
    here: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    assert here.journal.folder is not None
    here.journal.folder.mkdir(exist_ok=True)
    (here.journal.folder / "1-new.objects").write_bytes(b'{"format": "of tomorrow"}\n')
    await here.upkeep.step()
    await here.upkeep.step()
    assert len(here.files()) == 1
    assert caplog.text.count("its format is unknown") == 1


async def test_what_its_owner_has_deleted_meanwhile_does_not_come_back(
    pool: Pool, here: Keeping, tmp_path: Path, maker: Holder
) -> None:
    dead = new_keeping(pool, tmp_path)
    dead.owners.note(maker.caller, [Found("file", "e-1")])
    await here.owners.record(maker.caller, [Found("file", "e-1")])
    assert await here.owners.delete(maker.account_id, "file", "e-1")
    dead.journal.close()
    await here.upkeep.step()
    assert await here.has(maker, "e-1") == []


async def test_lines_that_cannot_be_recorded_now_are_left_for_later(
    here: Keeping, beside: Keeping, maker: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.owners.note(maker.caller, [Found("file", "f-1")])
    beside.journal.close()
    with monkeypatch.context() as patch:
        patch.setattr("tokenbalance.owners.upkeep.record_written", _away)
        with pytest.raises(ConnectionError):
            await here.upkeep.step()
    await here.upkeep.step()
    assert await here.has(maker, "f-1") == ["f-1"]


async def _away(*_: object, **_more: object) -> None:
    raise ConnectionError


async def test_what_is_past_its_end_is_deleted_with_its_parts(
    pool: Pool, here: Keeping, maker: Holder
) -> None:
    await here.owners.record(
        maker.caller,
        [
            Found("file", "x-1", expires_at=1_000_000_000),
            Found("file", "x-2", parent="x-1"),
            Found("file", "x-3", expires_at=4_000_000_000),
            Found("vector_store", "x-4", expires_at=1_000_000_000),
        ],
    )
    await here.upkeep.step()
    assert await here.has(maker, "x-1", "x-2", "x-3") == ["x-3"]
    assert await here.has(maker, "x-4", kind="vector_store") == ["x-4"]
    ends = await pool.fetch("SELECT deleted_at = expires_at FROM objects WHERE object_id = 'x-1'")
    assert [end[0] for end in ends] == [True]


async def test_responses_are_forgotten_when_the_upstream_has_them_no_longer(
    pool: Pool, here: Keeping, maker: Holder
) -> None:
    await here.owners.record(
        maker.caller,
        [
            Found("conversation", "conv_1"),
            *(Found("response", f"resp_{age}") for age in (30, 32)),
            *(Found("item", f"item_{age}", f"resp_{age}") for age in (30, 32)),
            Found("item", "item_kept", "conv_1"),
            Found("file", "file_32"),
        ],
    )
    await pool.execute(
        "UPDATE objects SET created_at = now() - interval '32 days'"
        " WHERE object_id LIKE '%32' OR object_id IN ('conv_1', 'item_kept')"
    )
    await here.upkeep.step()
    rows = await pool.fetch(
        "SELECT object_id FROM objects WHERE account_id = $1 ORDER BY object_id", maker.account_id
    )
    assert [row[0] for row in rows] == ["conv_1", "file_32", "item_30", "item_kept", "resp_30"]

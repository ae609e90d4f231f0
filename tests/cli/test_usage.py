from __future__ import annotations

import asyncio
import csv
import io
import os
import pty
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.cli.conftest import COMMAND, TIMEOUT_S
from tests.support.books import create_holder
from tests.support.days import midnight
from tests.support.refused import refuse
from tests.support.usage import Used, use
from tokenbalance.books.reports import USAGE_COLUMNS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

THIS_MORNING = midnight()
YESTERDAY = THIS_MORNING - timedelta(hours=12)
SINCE = str((YESTERDAY - timedelta(days=3)).date())


async def test_usage_is_written_as_csv_and_as_json_lines(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    request_id = await use(pool, holder, Used(tokens=12, at=YESTERDAY))

    response = cli("usage", "export", "--since", SINCE)
    as_json = cli("usage", "export", "--since", SINCE, "--json")
    same = cli("usage", "export", "--since", SINCE, "--format", "jsonl")

    assert (response.code, response.err) == (0, "1 row written\n")
    (row,) = csv.DictReader(io.StringIO(response.out))
    assert tuple(row) == USAGE_COLUMNS
    assert (row["request_id"], row["total"], row["estimated"]) == (request_id, "12", "false")
    assert datetime.fromisoformat(row["created_at"]) == YESTERDAY
    assert as_json.out == same.out
    assert orjson.loads(as_json.out)["charge"] == 12


async def test_refusals_of_a_user_are_counted_by_day_key_and_code(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    today = midnight().date()
    yesterday = today - timedelta(days=1)
    await refuse(pool, holder.account_id, holder.key_id, "insufficient_quota", 1200)
    await refuse(pool, holder.account_id, holder.key_id, "balance_held", 3, yesterday)
    shown = cli("usage", "refusals", email)
    as_json = cli("usage", "refusals", email, "--since", str(today), "--json")
    lines = [line.split()[:4] for line in shown.out.splitlines()]
    assert [line[0:1] + line[2:] for line in lines] == [
        ["day", "code", "count"],
        [str(today), "insufficient_quota", "1,200"],
        [str(yesterday), "balance_held", "3"],
    ]
    (row,) = orjson.loads(as_json.out)
    assert (row["key_id"], row["code"], row["count"]) == (
        holder.key_id,
        "insufficient_quota",
        1200,
    )


@pytest.mark.parametrize("before", [None, 0o644])
def test_an_export_is_for_its_owner_only(cli: Cli, tmp_path: Path, before: int | None) -> None:
    file = tmp_path / "usage.csv"
    if before is not None:
        _ = file.write_text("an older and longer export\n" * 99, "utf-8")
        file.chmod(before)
    umask = os.umask(0)
    try:
        response = cli("usage", "export", "--since", SINCE, "--output", str(file))
    finally:
        _ = os.umask(umask)
    assert response.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text("utf-8").splitlines() == [",".join(USAGE_COLUMNS)]


def test_an_export_may_go_to_a_device(cli: Cli) -> None:
    mode = Path(os.devnull).stat().st_mode
    assert cli("usage", "export", "--since", SINCE, "--output", os.devnull).code == 0
    assert Path(os.devnull).stat().st_mode == mode


async def test_only_what_is_asked_for_is_written(cli: Cli, pool: Pool, tmp_path: Path) -> None:
    one, other = await create_holder(pool), await create_holder(pool)
    _ = await use(pool, one, Used(at=YESTERDAY - timedelta(days=9)))
    mine = await use(pool, one, Used(at=YESTERDAY))
    _ = await use(pool, other, Used(at=YESTERDAY))
    _ = await use(pool, one, Used(at=THIS_MORNING))
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", one.user_id)
    file = tmp_path / "usage.jsonl"

    until = f"{THIS_MORNING:%Y-%m-%dT%H:%M}"
    asked = ("--since", SINCE, "--until", until, "--user", email.upper(), "--output", str(file))
    response = cli("usage", "export", *asked, "--json")

    assert (response.code, response.out) == (0, "")
    assert [orjson.loads(line)["request_id"] for line in file.read_bytes().splitlines()] == [mine]


async def test_what_cannot_be_exported_is_refused_in_one_line(cli: Cli) -> None:
    assert "no user has" in cli.refused("usage", "export", "--since", SINCE, "--user", "x@y")
    wrong = cli("usage", "export", "--since", "yesterday")
    assert (wrong.code, wrong.out, wrong.err.count("\n")) == (2, "", 1)
    assert "--since" in wrong.err
    nowhere = cli("usage", "export", "--since", SINCE, "--output", "no/such/folder")
    assert (nowhere.code, nowhere.err.count("\n")) == (2, 1)


async def test_a_reader_that_has_had_enough_ends_it_quietly(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    for _ in range(3):
        await use(pool, holder, Used(at=YESTERDAY))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, "usage", "export", "--since", SINCE],
            cwd=cli.folder,
            env=cli.environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=TIMEOUT_S,
        )
    finally:
        os.close(writing)
    assert b"Traceback" not in ended.stderr
    assert b"rror" not in ended.stderr
    assert ended.returncode == 0


async def test_a_terminal_sees_a_bar(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    await use(pool, holder, Used(at=YESTERDAY))
    ours, theirs = pty.openpty()
    try:
        ended = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, "usage", "export", "--since", SINCE],
            cwd=cli.folder,
            env={**cli.environment, "TERM": "xterm", "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=TIMEOUT_S,
        )
        os.close(theirs)
        seen = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
    assert "1/1" in seen
    assert ended.stdout.count(b"\n") == 2

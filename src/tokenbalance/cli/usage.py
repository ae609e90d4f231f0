"""`tokenbalance usage ...`: export usage to a file, show what was refused."""

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokenbalance.books.reports import (
    USAGE_COLUMNS,
    Period,
    count_usage,
    csv_lines,
    export_usage,
    json_lines,
    refusals_page,
)
from tokenbalance.books.reports.export import Batch
from tokenbalance.cli.arguments import ISO, AsJson, read_moment
from tokenbalance.cli.database import open_books, transact
from tokenbalance.cli.output import Fields, counted, print_aside, print_json, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.database.connections import Session, Sessions, open_sessions
from tokenbalance.database.paging import PAGE_ROWS_MAX
from tokenbalance.people.tags import accounts_of_tag
from tokenbalance.people.teams.names import team_named
from tokenbalance.people.users import find_user
from tokenbalance.settings import load_settings

Report: TypeAlias = Callable[[int], None]
"""Called with the number of rows written so far."""

app = typer.Typer(name="usage", help="Export usage, show refusals.")

_CANNOT_WRITE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_ROWS_A_LINE: Final = 100_000


class Format(StrEnum):
    """The format of the file."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class _Export:
    """What to write, and in which format."""

    period: Period
    email: str | None
    team: str | None
    tag: str | None
    format: Format


@app.command("refusals", cls=OfPayer)
def refusals(
    email: UserEmail,
    *,
    team: OfTeam = None,
    since: Annotated[str | None, typer.Option(metavar="D", help=f"From this day on. {ISO}")] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Before this moment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count refused requests of a user or a team by day (UTC), key and code, newest first."""
    period = Period(
        None if since is None else read_moment(since, "--since"),
        None if until is None else read_moment(until, "--until"),
    )
    rows = transact(lambda session: _refusals(session, email, team, period))
    if as_json:
        print_json(rows)
    else:
        print_table(("day", "key", "code", "count", "last_at"), rows)


async def _refusals(session: Session, email: str, team: str | None, period: Period) -> list[Fields]:
    account_id = (await find_payer(session, email, team)).id
    rows: list[Fields] = []
    after: str | None = None
    while True:
        page = await refusals_page(session, account_id, period, after, PAGE_ROWS_MAX)
        rows += (
            {
                "day": row.day.isoformat(),
                "key_id": row.key.id,
                "key": row.key.name or row.key.prefix,
                "code": row.code,
                "count": row.count,
                "last_at": row.last_at,
            }
            for row in page.data
        )
        if (after := page.next) is None:
            return rows


@app.command("export")
def export(  # noqa: PLR0913 - each is an option of its own
    *,
    since: Annotated[str, typer.Option(metavar="D", help=f"From this moment on. {ISO}")],
    until: Annotated[str | None, typer.Option(metavar="D", help="Before this moment.")] = None,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only this user.")] = None,
    team: Annotated[
        str | None,
        typer.Option(metavar="TEAM", help="Only what this team paid, by its id or name."),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="Only users who have this tag.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Format of the file.")] = Format.CSV,  # noqa: A002 - the option's name
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write to this file instead of stdout; readable for its owner only.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format jsonl.")] = False,
) -> None:
    """Write a row for each charged request, in the order in which they ended."""
    if team is not None and (user is not None or tag is not None):
        msg = "--team excludes --user and --tag, which are about what users paid themselves"
        raise typer.BadParameter(msg)
    end = None if until is None else read_moment(until, "--until")
    period = Period(read_moment(since, "--since"), end)
    wanted = _Export(period, user, team, tag, Format.JSONL if as_json else format)
    try:
        with open_books(load_settings()) as dsn, _opened(output) as file:
            asyncio.run(_write(dsn, wanted, file))
    except BrokenPipeError:
        # The reader has closed the pipe, so what Python would still flush has nowhere to go.
        _forget_stdout()
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        _forget_stdout()
        print_aside(f"error: Cannot write: {error.strerror}")
        raise typer.Exit(1) from None


def _forget_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _write(dsn: str, wanted: _Export, file: BinaryIO) -> None:
    async with open_sessions(dsn) as sessions:
        whose = await _accounts(sessions, wanted)
        with await _progress(sessions, wanted.period, whose) as report:
            batches = _counted(export_usage(sessions, wanted.period, among=whose), report)
            lines = csv_lines if wanted.format is Format.CSV else json_lines
            async with aclosing(lines(USAGE_COLUMNS, batches)) as pieces:
                async for piece in pieces:
                    _ = file.write(piece)
    file.flush()


async def _accounts(sessions: Sessions, wanted: _Export) -> tuple[int, ...] | None:
    """Return the accounts whose usage is exported; None: all."""
    found: list[set[int]] = []
    async with sessions() as session:
        if wanted.email is not None:
            found.append({(await find_user(session, wanted.email)).account.id})
        if wanted.team is not None:
            found.append({(await team_named(session, wanted.team)).id})
        if wanted.tag is not None:
            found.append({*await accounts_of_tag(session, wanted.tag)})
    return tuple(sorted(set[int].intersection(*found))) if found else None


async def _counted(batches: AsyncIterable[Batch], report: Report) -> AsyncGenerator[Batch]:
    rows = 0
    async for batch in batches:
        yield batch
        rows += len(batch)
        report(rows)


async def _progress(
    sessions: Sessions, period: Period, whose: tuple[int, ...] | None
) -> AbstractContextManager[Report]:
    """Choose how progress is shown: a bar on a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        return _bar(await count_usage(sessions, period, among=whose))
    return _log_lines()


@contextmanager
def _bar(rows: int) -> Generator[Report]:
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("rows", total=rows)
        yield lambda done: progress.update(bar, completed=done)


@contextmanager
def _log_lines() -> Generator[Report]:
    written = said = 0

    def report(rows: int) -> None:
        nonlocal written, said
        written = rows
        if rows - said >= _ROWS_A_LINE:
            said = rows
            print_aside(f"{rows:,} rows")

    yield report
    print_aside(f"{counted(written, 'row')} written")


@contextmanager
def _opened(output: Path | None) -> Generator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        file = _private_file(output)
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from None
    with file:
        yield file


def _private_file(path: Path) -> BinaryIO:
    """Open a file for its owner only; one that exists is emptied and made private."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # Not a device or a pipe, which others may need.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
        return os.fdopen(descriptor, "wb")
    except OSError:
        os.close(descriptor)
        raise

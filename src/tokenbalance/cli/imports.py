"""`tokenbalance user import`: many users from a table. Keys and links are printed once."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import orjson
import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.cli.arguments import ACTOR, AsJson
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import counted, print_aside, print_json
from tokenbalance.cohorts.importing import Imported, Wanted, plan_import
from tokenbalance.cohorts.importing import import_users as import_table
from tokenbalance.people.imports.planning import Existing, Plan
from tokenbalance.people.imports.reading import BYTES_MAX
from tokenbalance.people.imports.results import Gives, as_csv, shown_secret
from tokenbalance.settings import load_settings

_STDIN: Final = Path("-")


def import_users(  # noqa: PLR0913 - each is an option of its own
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, or one e-mail a line; - for stdin.")
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; tell all errors and what would be.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Give each an API key: the default.")
    ] = False,
    links: Annotated[
        bool, typer.Option("--links", help="Give each a link that sets a password, once.")
    ] = False,
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url",
            metavar="URL",
            help="Where users reach this server, for links: https://proxy.example.com",
        ),
    ] = "",
    existing: Annotated[
        Existing,
        typer.Option(
            "--existing",
            help="Lines of who is a user already: refuse them, skip them, or add their credits"
            " and tags.",
        ),
    ] = Existing.REFUSE,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="A value for all lines that have none, such as tag=cs101; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write the result to this new file instead of stdout; readable for its owner"
            " only.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create all users of a table, or none; prints their keys or links, once.

    Columns, in any order: email, name, credits, allowance and every (day, week, month), tag, and
    any limit, such as parallel_requests. Without a header: an e-mail a line, or e-mail and name.
    """
    if keys and links:
        msg = "--keys and --links exclude each other"
        raise typer.BadParameter(msg)
    gives = Gives.LINKS if links else Gives.KEYS
    if gives is Gives.LINKS and not dry_run and not base_url.startswith(("http://", "https://")):
        msg = "links need --base-url with the address at which users reach this server"
        raise typer.BadParameter(msg)
    wanted = Wanted(
        table=_read(file),
        gives=gives,
        existing=existing,
        defaults=_defaults(values or []),
        key_limits=load_settings().key_limits,
    )
    if dry_run:
        _tell(transact(lambda session: plan_import(session, wanted)), as_json=as_json)
        return

    async def work(session: AsyncSession) -> Imported:
        return await import_table(session, wanted, ACTOR)

    with _opened(output) as result:
        imported = transact(work)
        base = base_url.rstrip("/")
        if as_json:
            written = _json_of(imported, gives, base)
        else:
            written = as_csv(imported.results, gives, base)
        _ = result.write(written.encode())
        result.flush()
    if not as_json:
        _summarise(imported.plan)


def _read(file: Path) -> bytes:
    try:
        if file == _STDIN:
            return sys.stdin.buffer.read(BYTES_MAX + 1)
        with file.open("rb") as opened:
            return opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None


def _defaults(values: list[str]) -> dict[str, str]:
    defaults: dict[str, str] = {}
    for one in values:
        name, mark, text = one.partition("=")
        if not mark:
            msg = "--set takes COLUMN=VALUE, such as tag=cs101"
            raise typer.BadParameter(msg)
        defaults[name] = text
    return defaults


@contextmanager
def _opened(output: Path | None) -> Generator[BinaryIO]:
    """Open the result before anything is done: what cannot be written must not be created."""
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from None
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
        finally:
            if not file.tell():
                with suppress(OSError):
                    output.unlink()


def _tell(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "dry_run": True,
                **_numbers(plan),
                "errors": [
                    {"line": one.line, "field": one.field, "message": one.reason}
                    for one in plan.mistakes
                ],
            }
        )
    else:
        for mistake in plan.mistakes:
            print_aside(f"error: {mistake.message}")
        _summarise(plan, would=True)
    if plan.mistakes:
        raise typer.Exit(1)


def _summarise(plan: Plan, *, would: bool = False) -> None:
    if plan.mistakes:
        print_aside(f"{counted(len(plan.mistakes), 'error')}; nothing was changed")
        return
    what = "would be created" if would else "created"
    parts = [f"{counted(len(plan.new), 'user')} {what}"]
    if plan.added:
        parts.append(f"{len(plan.added):,} there already: credits and tags")
    if plan.skipped:
        parts.append(f"{len(plan.skipped):,} skipped")
    print_aside(f"{', '.join(parts)}; {counted(plan.credits, 'credit')} in all")
    if would:
        print_aside("0 errors; nothing was changed")


def _numbers(plan: Plan) -> dict[str, int]:
    return {
        "new": len(plan.new),
        "added": len(plan.added),
        "skipped": len(plan.skipped),
        "credits": plan.credits,
    }


def _json_of(imported: Imported, gives: Gives, base_url: str) -> str:
    users = [
        {
            "line": one.line,
            "id": one.user_id,
            "email": one.email,
            "name": one.name,
            gives.value.removesuffix("s"): shown_secret(one, gives, base_url) or None,
        }
        for one in imported.results
    ]
    document = {"dry_run": False, **_numbers(imported.plan), "users": users}
    return orjson.dumps(document).decode() + "\n"

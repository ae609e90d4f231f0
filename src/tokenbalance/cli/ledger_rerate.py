"""`tokenbalance ledger rerate`: requests of the past get the prices of another card."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import typer

from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.rerate import Payer, Rerate, RerateQuery
from tokenbalance.books.ledger.rerate_totals import Sum, Totals
from tokenbalance.books.pricing.rate_card import RateCard, RateCardError, load_rate_card
from tokenbalance.books.reports import Period
from tokenbalance.cli.arguments import ACTOR, ISO, AsJson, read_moment
from tokenbalance.cli.database import open_books
from tokenbalance.cli.output import Fields, counted, print_aside, print_line, print_table
from tokenbalance.database.connections import open_sessions
from tokenbalance.people.users import find_user
from tokenbalance.settings import Settings, load_settings

_NAME_MAX: Final = 100
_DIGEST_CHARS: Final = 12
_REQUESTS_A_LINE: Final = 100_000
_COLUMNS: Final = ("requests", "before", "after", "difference")


class _Card(NamedTuple):
    """A card, and how it is named in the ledger."""

    rates: RateCard
    name: str
    """That of its file, without its folder."""
    digest: str
    """The SHA-256 of the file."""

    @property
    def note(self) -> str:
        """What the entries say."""
        return f"prices of {self.name}, sha256 {self.digest[:_DIGEST_CHARS]}"


class _Outcome(NamedTuple):
    """What was found and done."""

    totals: Totals
    top: Sequence[Payer]
    overdrawn: Sequence[Payer]


def rerate(  # noqa: PLR0913 - each is an option of its own
    *,
    since: Annotated[
        str, typer.Option(metavar="D", help=f"Requests that ended from this moment on. {ISO}")
    ],
    until: Annotated[str | None, typer.Option(metavar="D", help="Before this moment.")] = None,
    card: Annotated[
        Path, typer.Option(metavar="FILE", help="The rate card with the right prices.")
    ],
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only this user.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Charge requests of the past at the prices of a card, by an entry of each difference."""
    period = Period(
        read_moment(since, "--since"), None if until is None else read_moment(until, "--until")
    )
    settings = load_settings()
    read = _read_card(card, settings)
    with open_books(settings) as dsn:
        outcome = asyncio.run(_rerate(dsn, read, period, user, post=not dry_run))
    if as_json:
        print_line(_json(outcome, read, period, dry_run=dry_run))
    else:
        _print(outcome, dry_run=dry_run)


def _read_card(path: Path, settings: Settings) -> _Card:
    host = (urlsplit(settings.openai_base_url).hostname or "").rstrip(".")
    try:
        rates = load_rate_card(path, host)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (RateCardError, OSError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--card") from None
    name = path.name if path.name.isprintable() else ascii(path.name)
    return _Card(rates, name[:_NAME_MAX], digest)


async def _rerate(
    dsn: str, card: _Card, period: Period, email: str | None, *, post: bool
) -> _Outcome:
    async with open_sessions(dsn) as sessions:
        account_id: int | None = None
        if email is not None:
            async with sessions() as session:
                account_id = (await find_user(session, email)).account.id
        query = RerateQuery(
            period=period,
            card=card.rates,
            cause=Cause(ACTOR, card.note),
            account_id=account_id,
        )
        run = Rerate(sessions, query, post=post, report=_report_progress())
        totals = await run.run()
        return _Outcome(totals, await run.top_payers(), await run.overdrawn())


def _report_progress() -> Callable[[int], None]:
    said = 0

    def report(requests: int) -> None:
        nonlocal said
        if requests - said >= _REQUESTS_A_LINE:
            said = requests
            print_aside(f"{requests:,} requests")

    return report


def _json(outcome: _Outcome, card: _Card, period: Period, *, dry_run: bool) -> str:
    """Write the whole outcome as one object; credits are integers."""
    totals = outcome.totals
    document = {
        "dry_run": dry_run,
        "card": {"name": card.name, "sha256": card.digest},
        "since": period.since,
        "until": period.until,
        **_sums(totals.all),
        "entries": totals.entries,
        "kept_by_refunds": totals.limited,
        "changed_meanwhile": totals.changed_meanwhile,
        "models": [{"model": model, **_sums(cost)} for model, cost in _by_model(totals)],
        "accounts": [_account(payer, totals) for payer in outcome.top],
        "unpriced": list(_unpriced(totals)),
        "overdrawn": [_account(payer, totals) for payer in outcome.overdrawn],
    }
    return orjson.dumps(document).decode()


def _print(outcome: _Outcome, *, dry_run: bool) -> None:
    totals = outcome.totals
    rows = [{"model": model, **_sums(cost)} for model, cost in _by_model(totals)]
    print_table(("model", *_COLUMNS), [*rows, {"model": "all", **_sums(totals.all)}])
    if outcome.top:
        print_line("")
        columns = ("user", *_COLUMNS, "balance after")
        print_table(columns, [_printed(payer, totals) for payer in outcome.top])
    print_line("")
    entries = counted(totals.entries, "entry", "entries")
    print_line(f"{entries} would be posted" if dry_run else f"{entries} posted")
    if totals.limited:
        print_line(
            f"{counted(totals.limited, 'request')} cost more than the card says: more was refunded"
        )
    if totals.changed_meanwhile:
        print_line(
            f"{counted(totals.changed_meanwhile, 'request')} left: entries are made for them right"
            " now. Run it again"
        )
    if unpriced := list(_unpriced(totals)):
        print_line("\nLeft as they are:")
        print_table(("model", "requests", "credits", "reason"), unpriced)
    if outcome.overdrawn:
        print_line("\nThese balances would be below 0:" if dry_run else "\nBalances below 0:")
        print_table(
            ("user", "difference", "balance after"),
            [_printed(payer, totals) for payer in outcome.overdrawn],
        )


def _by_model(totals: Totals) -> Sequence[tuple[str, Sum]]:
    return sorted(totals.models.items(), key=lambda item: (-abs(item[1].difference), item[0]))


def _account(payer: Payer, totals: Totals) -> Fields:
    cost = totals.accounts[payer.account_id]
    return {
        "user": payer.email or None,
        "team": payer.team,
        "account_id": payer.account_id,
        **_sums(cost),
        "balance": payer.balance,
    }


def _printed(payer: Payer, totals: Totals) -> Fields:
    return {**_account(payer, totals), "user": payer.name, "balance after": payer.balance}


def _unpriced(totals: Totals) -> Iterable[Fields]:
    for unpriced, cost in sorted(totals.unpriced.items(), key=lambda item: -item[1].requests):
        yield {
            "model": unpriced.model or None,
            "requests": cost.requests,
            "credits": cost.before,
            "reason": unpriced.reason,
        }


def _sums(cost: Sum) -> dict[str, int]:
    return {
        "requests": cost.requests,
        "before": cost.before,
        "after": cost.after,
        "difference": cost.difference,
    }

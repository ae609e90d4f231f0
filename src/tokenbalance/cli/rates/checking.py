"""Looks for models in use that the rate card does not cover, or that will be shut down."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.coverage import Finding, ModelInUse, uncovered
from tokenbalance.books.reports import Group, Period, UsageQuery, all_usage_by
from tokenbalance.cli.database import open_books
from tokenbalance.cli.output import counted, print_aside, print_json, print_line
from tokenbalance.cli.rates.upstream_models import NoList, models_of_upstream
from tokenbalance.database.connections import open_sessions
from tokenbalance.openai.tokens.models import retirement_of
from tokenbalance.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.cli.output import Document
    from tokenbalance.settings import Settings

_SOON: Final = dt.timedelta(days=60)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was looked at, and what was found."""

    days: int
    used: Sequence[ModelInUse]
    offered: Sequence[str] | None
    """None: the upstream's models are not known."""
    why_not: str
    """Why they are not."""
    findings: Sequence[Finding]


def print_findings(days: int, *, as_json: bool) -> bool:
    """Print what an operator should know of the models in use.

    Args:
        days: of the requests looked at, today included.
        as_json: print one JSON object.

    Returns:
        Whether there was nothing to say.

    """
    settings = load_settings()
    has_card = settings.rates is not None
    with open_books(settings) as dsn:
        checked = asyncio.run(_check(settings, dsn, days))
    if not has_card:
        print_aside("TOKENBALANCE_RATE_CARD is not set: a token of every model costs one credit.")
    if checked.why_not:
        print_aside(f"The upstream's models were not checked: {checked.why_not}.")
    if as_json:
        print_json(_document(settings, checked))
    else:
        _print(checked)
    return not checked.findings


async def _check(settings: Settings, dsn: str, days: int) -> _Checked:
    today = dt.datetime.now(dt.UTC).date()
    used = await _models_used(dsn, today - dt.timedelta(days=days - 1))
    offered, why_not = None, ""
    try:
        offered = await models_of_upstream(settings)
    except NoList as reason:
        why_not = str(reason)
    names = {model.name for model in used}
    only_offered = [ModelInUse(name) for name in offered or () if name not in names]
    findings = _findings(settings, [*used, *only_offered], today)
    return _Checked(days, used, offered, why_not, findings)


async def _models_used(dsn: str, since: dt.date) -> list[ModelInUse]:
    period = Period(dt.datetime.combine(since, dt.time(), dt.UTC))
    query = UsageQuery(groups=frozenset({Group.MODEL}), period=period)
    async with open_sessions(dsn) as sessions, sessions() as session:
        rows = await all_usage_by(session, query)
    return [ModelInUse(row.model, row.sums.quantities) for row in rows if row.model is not None]


def _findings(settings: Settings, models: Sequence[ModelInUse], today: dt.date) -> list[Finding]:
    card = settings.rates
    missing = [] if card is None else uncovered(card, models, today)
    retiring = [
        _retirement(model.name, day, today)
        for model in models
        if (day := retirement_of(model.name, settings.upstream_traits)) is not None
        and day <= today + _SOON
    ]
    return [*missing, *retiring]


def _retirement(model: str, day: dt.date, today: dt.date) -> Finding:
    if day <= today:
        return Finding(model, "shut_down", f"was shut down on {day.isoformat()}")
    left = counted((day - today).days, "day")
    return Finding(model, "shuts_down", f"will be shut down on {day.isoformat()}, in {left}")


def _document(settings: Settings, checked: _Checked) -> dict[str, Document]:
    used = {model.name for model in checked.used}
    return {
        "ok": not checked.findings,
        "days": checked.days,
        "card": None if settings.rate_card is None else str(settings.rate_card),
        "used": sorted(used),
        "offered": checked.offered,
        "not_offered_because": checked.why_not or None,
        "findings": [
            {
                "model": finding.model,
                "code": finding.code,
                "message": finding.message,
                "used": finding.model in used,
            }
            for finding in checked.findings
        ],
    }


def _print(checked: _Checked) -> None:
    used = {model.name for model in checked.used}
    for finding in checked.findings:
        where = "used" if finding.model in used else "offered"
        print_line(f"{finding.model} ({where}): {finding.message}")
    if not checked.findings:
        offered = "" if checked.offered is None else f", {len(checked.offered):,} offered"
        days = counted(checked.days, "day")
        print_line(f"ok: {counted(len(checked.used), 'model')} used in {days}{offered}")

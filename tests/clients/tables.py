"""What was seen, printed for a person: one table for turns, one for refusals."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clients.refused import Reaction
    from tests.clients.trials import Trial

_SEEN_MAX = 110


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show_trials(trials: Sequence[Trial], verified: Mapping[str, Any]) -> bool:
    """Print the turns and what the books say; returns whether all was right."""
    rows = [
        (
            trial.client,
            trial.version,
            trial.turn,
            _counted(trial.requests),
            str(trial.charge),
            ", ".join(trial.elsewhere) or "-",
            "; ".join(trial.faults) or "ok",
        )
        for trial in trials
    ]
    head = ("client", "version", "tried", "requests", "charge", "elsewhere", "result")
    show_rows((head, *rows))
    wrong = sum(bool(trial.faults) for trial in trials)
    say(f"\n{len(trials)} turns, {wrong} wrong; ledger verify: {dict(verified)}")
    return not wrong and bool(verified["ok"]) and not verified["open_holds"]


def show_reactions(reactions: Sequence[Reaction]) -> None:
    """Print how clients took refusals; there is no right and wrong in it."""
    rows = [
        (
            reaction.client,
            reaction.refusal,
            str(reaction.requests),
            str(reaction.handshakes) if reaction.handshakes else "",
            f"{reaction.seconds:.1f}",
            reaction.seen[:_SEEN_MAX],
        )
        for reaction in reactions
    ]
    show_rows((("client", "got", "requests", "handshakes", "seconds", "seen"), *rows))


def _counted(requests: Sequence[str]) -> str:
    return ", ".join(
        line if times == 1 else f"{times} x {line}" for line, times in Counter(requests).items()
    )


def show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())

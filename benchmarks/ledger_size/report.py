"""What is printed: a line for each figure, with its goal where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.markdown import lay_out
from benchmarks.verdict import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.ledger_size.batches import Settled
    from benchmarks.ledger_size.load import Loaded

_MIB: Final = 2**20
POSTGRES_US: Final = 90.0
BATCH_MS: Final = 5.0
DISK_KB: Final = 0.6


def judged(value: float, limit: float, unit: str) -> str:
    """Write a figure and what it may be at most."""
    verdict = "met" if value <= limit else f"missed by {value / limit - 1:.0%}"
    return f"{value:.3g} {unit} (≤ {limit:g}): {verdict}"


def show_load(name: str, loaded: Loaded, wal_kb: float) -> None:
    """Show what a load took."""
    slices = ", ".join(f"{each / 1000:.2f}" for each in loaded.wal_slices)
    say(f"{name}: WAL {judged(loaded.wal_bytes / 1000, wal_kb, 'kB a request')}")
    say(f"    in turn since a checkpoint: {slices}; {loaded.full_pages:.2f} whole pages a request")
    say(f"    Postgres {judged(loaded.postgres_us, POSTGRES_US, 'µs a request')}")
    say(f"    {loaded.per_s:,.0f} requests/s")


def show_batches(name: str, settled: Settled) -> None:
    """Show what a batch of settlements took."""
    say(f"settlement of a batch, {name}: {judged(settled.median_ms, BATCH_MS, 'ms')}")
    cpu = f"Postgres {settled.postgres_ms:.1f} ms and the proxy's side {settled.own_ms:.1f} ms"
    say(f"    worst {settled.worst_ms:.1f} ms; CPU time: {cpu}")


def show_sizes(before: Mapping[str, int], after: Mapping[str, int], requests: int) -> None:
    """Show how tables and indexes have grown with so many requests."""
    grown = {name: size - before[name] for name, size in after.items()}
    head = ("table or index", "MiB", "bytes a request")
    rows = [
        (name, f"{after[name] / _MIB:,.1f}", f"{size / requests:,.0f}")
        for name, size in sorted(grown.items(), key=lambda item: -item[1])
    ]
    say("\n" + "\n".join(lay_out(head, rows, frozenset({"table or index"}))) + "\n")
    say(f"disk {judged(sum(grown.values()) / requests / 1000, DISK_KB, 'kB a request')}\n")


def show_plans(name: str, plans: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Show plans, as far as they are not known yet."""
    changed = {key: plan for key, plan in plans.items() if known.get(key) != plan}
    say(f"plans, {name}: " + ("" if changed else "the same"))
    for key, plan in changed.items():
        say(f"    {key}: {plan}")

"""What limits cost: requests of limited keys beside those of keys without, of the same server.

Four loads alternate in short bursts, in one run: the plain and the limited key of one account each,
and those of 20 accounts each. A limited key has requests_per_minute, credits_per_day and
parallel_requests, none of which refuses. The ratios are of CPU time for a request, of the proxy and
of Postgres, so they mean something on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from benchmarks.compare.ratios import PAIRS_MIN, ratio_of
from benchmarks.markdown import lay_out
from benchmarks.speed import bodies
from benchmarks.speed.accounts import AMPLE, Proof, write_keys
from benchmarks.speed.cases import CASES, KB
from benchmarks.speed.loads import Load, Loader, LoadFailed
from benchmarks.speed.machine import cores_for, describe, free_port, raise_open_files
from benchmarks.speed.measuring import Meter, Wrong
from benchmarks.speed.product import serve
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.subjects import Place, Unavailable
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say
from tokenbalance.database.connections import open_pool, open_sessions
from tokenbalance.database.tables import Account, ApiKey, User
from tokenbalance.people.limit_rows import bind_key
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    from benchmarks.speed.cases import Case
    from benchmarks.speed.figures import Figures
    from benchmarks.speed.subjects import Subject

LIMITS: Final = {
    "requests_per_minute": 100_000_000,
    "credits_per_day": AMPLE,
    "parallel_requests": 100_000,
}
ACCOUNTS: Final = (1, 20)
CONNECTIONS: Final = 20
PAIRS: Final = 40
BURST_S: Final = 0.3
LIMIT_S: Final = 1200.0
_QUIET_S: Final = 0.05
PROXY_MAX: Final = 1.10
POSTGRES_MAX: Final = 1.20
"""A limited request may cost this much of a plain one."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for."""

    pairs: int
    seconds: float


def read_arguments() -> Given:
    """Read the arguments; ends the process when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limited",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("--pairs", type=int, default=PAIRS, help=f"at least {PAIRS_MIN}")
    _ = parser.add_argument("--seconds", type=float, default=BURST_S, help="of a burst")
    given = parser.parse_args()
    if given.pairs < PAIRS_MIN:
        parser.error(f"--pairs must be at least {PAIRS_MIN}")
    return Given(given.pairs, given.seconds)


async def create_keys(dsn: str, number: int, *, are_limited: bool) -> list[str]:
    """Make so many accounts with a key each; returns the keys."""
    keys = [new_secret() for _ in range(number)]
    async with open_sessions(dsn) as sessions, sessions.begin() as session:
        for key in keys:
            user = User(email=f"{prefix(key)}@limited.example")
            session.add(user)
            await session.flush()
            account = Account(user_id=user.id, balance=0, overdraft=AMPLE)
            session.add(account)
            await session.flush()
            row = ApiKey(
                account_id=account.id,
                prefix=prefix(key),
                secret_sha256=sha256(key),
                limits=LIMITS if are_limited else {},
            )
            session.add(row)
            await session.flush()
            await bind_key(session, row)
    return keys


async def _with_keys(subject: Subject, dsn: str, folder: Path) -> Subject:
    files = dict(subject.key_files)
    for number in ACCOUNTS:
        for kind in ("plain", "limited"):
            keys = await create_keys(dsn, number, are_limited=kind == "limited")
            files[f"{kind}{number}"] = write_keys(folder / f"{kind}{number}", keys)
    async with open_pool(dsn, 1) as pool:
        _ = await pool.execute("ANALYZE")
    return replace(subject, key_files=files)


def _case(kind: str, number: int) -> Case:
    load = Load(bodies.chat(KB), CONNECTIONS, f"{kind}{number}")
    return replace(CASES[0], name=f"{kind} keys of {number}", load=load)


async def measure(given: Given, folder: Path, cache: Path) -> list[str]:
    """Measure and print the table; returns what was wrong."""
    tools = await compile_tools(cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    meter = Meter(Loader(tools.load, folder, rest), given.seconds, 0, _QUIET_S)
    place = Place(folder / "here", folder, seat.port, sys.executable)
    place.folder.mkdir()
    async with serve(place) as plain, seat.responding(CASES[0].upstream):
        assert isinstance(plain.proof, Proof)
        subject = await _with_keys(plain, plain.proof.dsn, folder)
        results = {number: await _pairs(given, meter, subject, number) for number in ACCOUNTS}
        breaches = await plain.proof.breaches()
    say("\n" + "\n".join(_table(results)) + "\n")
    say(f"{describe()}: medians of {given.pairs} pairs of bursts of {given.seconds:g} s")
    return breaches


async def _pairs(
    given: Given, meter: Meter, subject: Subject, number: int
) -> list[tuple[Figures, Figures]]:
    """Measure pairs of bursts, plain and limited, in the order A B B A and so on."""
    cases = _case("plain", number), _case("limited", number)
    for case in cases:
        say(case.name)
        await meter.warm_up(case, subject)
    pairs: list[tuple[Figures, Figures]] = []
    for index in range(given.pairs):
        order = cases if index % 2 == 0 else cases[::-1]
        burst = {case.name: await meter.round(case, subject) for case in order}
        pairs.append((burst[cases[0].name], burst[cases[1].name]))
    return pairs


_HEAD: Final = ("accounts", "part", "plain µs", "limited µs", "ratio (95 %)", "allowed")


def _table(results: dict[int, list[tuple[Figures, Figures]]]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for number, pairs in results.items():
        of_proxy = [(plain.cpu_us or 0, limited.cpu_us or 0) for plain, limited in pairs]
        of_postgres = [
            (plain.postgres_us or 0, limited.postgres_us or 0) for plain, limited in pairs
        ]
        for part, costs, allowed in (
            ("proxy", of_proxy, PROXY_MAX),
            ("Postgres", of_postgres, POSTGRES_MAX),
        ):
            plain, limited = (statistics.median(each) for each in zip(*costs, strict=True))
            ratio = ratio_of([mine / other for other, mine in costs])
            row = (f"{plain:,.4g}", f"{limited:,.4g}", str(ratio), f"{allowed:.2f}")
            rows.append((str(number), part, *row))
    return lay_out(_HEAD, rows, frozenset({"part"}))


def main() -> int:
    """Run the command; returns its exit code."""
    given = read_arguments()
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks", ensure_exists=True)
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-limited-"))
    faults = (LoadFailed, NotStarted, Unavailable, Wrong)
    breaches = breaches_of(lambda: measure(given, folder, cache), faults, LIMIT_S)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())

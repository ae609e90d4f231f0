"""The cases: the request, the subjects and the upstream's response; never how it is measured."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from benchmarks.speed import bodies
from benchmarks.speed.gateways import GATEWAYS, LITELLM
from benchmarks.speed.loads import Load
from benchmarks.speed.product import BASE, NAME, TWO_WORKERS
from benchmarks.speed.tensorzero import TENSORZERO

if TYPE_CHECKING:
    from collections.abc import Sequence

KB: Final = 1024
IDLE_STREAMS: Final = 1000

_OURS: Final = frozenset({NAME, BASE})
_BARE: Final = _OURS | {"direct", "nginx"}
_SOME: Final = _BARE | {LITELLM}
_EVERYBODY: Final = _SOME | frozenset(GATEWAYS) | {TENSORZERO}

_RESPONSES: Final = ("--json", "1024")
_CHARGE: Final = 21
_EMBEDDING_CHARGE: Final = 9
_STREAM: Final = ("--stream", "200", "--gap-us", "0")


class Unit(enum.StrEnum):
    """The unit for which CPU time is reported."""

    REQUEST = "request"
    CHUNK = "chunk"
    STREAM = "stream"


class Way(enum.StrEnum):
    """How a round goes."""

    LOAD = "one load, for as long as a round takes"
    IDLE = "streams that are held open, on a subject that was just started"
    NEIGHBOUR = "one load, while another one has the subject count"
    REST = "no load: memory of a server that was just started"
    COMMAND = "no load: a command that needs nothing"
    READ = "no load: the body is read as a server reads it"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table for each subject."""

    name: str
    group: str
    upstream: tuple[str, ...]
    load: Load
    subjects: frozenset[str] = _BARE
    unit: Unit = Unit.REQUEST
    credits: int = _CHARGE
    """What the product charges for a response: the usage that the upstream reports."""
    way: Way = Way.LOAD
    lasting: float = 1.0
    """How many times as long as others a round takes."""
    in_parallel: Load | None = field(default=None)
    """The other load of a `NEIGHBOUR`."""
    with_disk: bool = False
    """Whether the disk is measured in each round as well."""


def _chat(size: int, connections: int = 64, keys: str = "users") -> Load:
    return Load(bodies.chat(size), connections, keys)


def _streams(connections: int, per_s: int | None = None) -> Load:
    paced = None if per_s is None else connections
    body = bodies.chat(KB, streams=True)
    return Load(body, connections, streams=True, per_s=per_s, requests=paced)


def _paced(connections: int, chunks: int, gap_ms: int) -> Case:
    # Two seconds until all are open: a thousand at one moment would measure that moment.
    return Case(
        f"{connections:,} streams, {1000 // gap_ms} chunks/s each",
        "paced",
        ("--stream", str(chunks), "--gap-us", str(gap_ms * 1000)),
        _streams(connections, per_s=connections // 2),
        unit=Unit.CHUNK,
    )


REST: Final = "server at rest, with Postgres"
HELP: Final = "tokenbalance --help"
READING: Final = "reading 400 kB of token arrays"
_WORKERS: Final = (NAME, TWO_WORKERS)
CUT_UP: Final = "400 kB of token arrays"
_COUNTED: Final = _chat(400 * KB, 1, "edge")

CASES: Final[Sequence[Case]] = (
    Case("chat, 1 kB", "chat", _RESPONSES, _chat(KB), _EVERYBODY),
    Case("chat, 32 kB", "chat", _RESPONSES, _chat(32 * KB), _SOME),
    Case("chat, 400 kB", "chat", _RESPONSES, _chat(400 * KB), _BARE),
    Case(
        "embeddings",
        "embeddings",
        ("--embeddings", "1536"),
        Load(bodies.embeddings(KB), 64, path="/v1/embeddings"),
        credits=_EMBEDDING_CHARGE,
    ),
    Case(
        CUT_UP,
        "embeddings",
        ("--embeddings", "1536"),
        Load(bodies.token_arrays(400 * KB), 8, path="/v1/embeddings"),
        # The upstream says that it read fewer tokens than were sent, which nobody believes.
        credits=bodies.tokens_of(400 * KB),
    ),
    Case(
        READING,
        "embeddings",
        _RESPONSES,
        Load(bodies.token_arrays(400 * KB), 1, path="/v1/embeddings"),
        _OURS,
        way=Way.READ,
    ),
    Case(
        "unknown key",
        "refusals",
        _RESPONSES,
        replace(_chat(KB, keys="unknown"), expect=401),
        _OURS,
    ),
    Case(
        "empty balance", "refusals", _RESPONSES, replace(_chat(KB, keys="empty"), expect=402), _OURS
    ),
    Case("one hot account", "accounts", _RESPONSES, _chat(KB, keys="hot"), _OURS),
    Case("10,000 accounts", "accounts", _RESPONSES, _chat(KB, keys="many"), _OURS),
    Case("400 kB, counted", "edge", _RESPONSES, _COUNTED),
    Case(
        "another user meanwhile",
        "edge",
        _RESPONSES,
        replace(_chat(KB, 8), per_s=50),
        way=Way.NEIGHBOUR,
        lasting=2,
        in_parallel=_COUNTED,
    ),
    Case("16 streams", "streams", _STREAM, _streams(16), _EVERYBODY, Unit.CHUNK),
    Case("128 streams", "streams", _STREAM, _streams(128), unit=Unit.CHUNK),
    Case("1,000 streams", "streams", _STREAM, _streams(1000), unit=Unit.CHUNK),
    _paced(100, 200, 50),
    _paced(1000, 100, 100),
    Case(
        "50 requests/s, one at a time",
        "latency",
        _RESPONSES,
        replace(_chat(KB, 1), per_s=50),
        _EVERYBODY,
        lasting=2,
        with_disk=True,
    ),
    Case(
        "idle streams",
        "memory",
        ("--stream", "10", "--gap-us", "1000", "--idle-after", "3"),
        _streams(IDLE_STREAMS),
        _BARE - {"direct"},
        Unit.STREAM,
        way=Way.IDLE,
    ),
    Case("one worker, two workers", "workers", _RESPONSES, _chat(KB), frozenset(_WORKERS)),
    Case(REST, "start", _RESPONSES, _chat(KB), _OURS, way=Way.REST),
    Case(HELP, "start", _RESPONSES, _chat(KB), _OURS, way=Way.COMMAND),
)
GROUPS: Final = tuple(dict.fromkeys(case.group for case in CASES))


def cases_of(groups: Sequence[str]) -> list[Case]:
    """Find the cases of some groups, in their order."""
    return [case for case in CASES if case.group in groups]

"""Exchanges with the OpenAI API: a few made by hand, and many real ones where they are at hand.

    @pytest.mark.parametrize("recording", recordings("/v1/responses", streamed=True), ids=str)

Those made by hand are in `tests/data`, and look like the API's. The real ones lie beside the
checkout, not in it; `how_many` says what to expect with and without them.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Json

HAND_MADE = Path(__file__).resolve().parents[1] / "data"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The data folder beside the checkout, if there is one."""

RECORDINGS = (HAND_MADE / "recordings.jsonl", REAL / "openai-recordings.jsonl.gz")
COUNTS = (HAND_MADE / "token-counts.jsonl", REAL / "token-counts.jsonl.gz")


@dataclass(frozen=True)
class Recording:
    """One exchange, as the API answered it, or would have."""

    id: str
    source: str
    """The public project that it comes from, or "hand-made"."""
    method: str
    path: str
    request_content_type: str | None
    request_body: bytes
    status: int
    response_headers: dict[str, str]
    response_body: bytes
    reserialised: bool
    """True when the body was JSON in the recording, so that its whitespace may not be the API's."""
    usage: dict[str, Json] | None
    """The usage that the API reported, where one is known."""

    def __str__(self) -> str:
        return f"{self.id}{self.path.removeprefix('/v1')}"

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return "event-stream" in self.response_headers.get("content-type", "")


def recordings(
    path_prefix: str = "/v1/", *, streamed: bool | None = None, status: int | None = None
) -> list[Recording]:
    """The recordings whose path begins like this, those made by hand first."""
    return [
        recording
        for recording in _all()
        if recording.path.startswith(path_prefix)
        and (streamed is None or recording.streamed is streamed)
        and (status is None or recording.status == status)
    ]


def counts() -> list[dict[str, Any]]:
    """Requests and the input tokens that they cost, as the API told or as its rules say."""
    return list(_lines(*COUNTS))


def how_many(hand_made: int, real: int) -> int:
    """The number that a test may expect, by what is at hand."""
    return hand_made + (real if RECORDINGS[1].is_file() else 0)


@cache
def _all() -> tuple[Recording, ...]:
    return tuple(_read(fields) for fields in _lines(*RECORDINGS))


def _lines(hand_made: Path, real: Path) -> Iterator[dict[str, Any]]:
    yield from map(orjson.loads, hand_made.read_bytes().splitlines())
    if real.is_file():
        with gzip.open(real) as lines:
            yield from map(orjson.loads, lines)


def _read(fields: dict[str, Any]) -> Recording:
    return Recording(
        id=fields["id"],
        source=fields["source"],
        method=fields["method"],
        path=fields["path"],
        request_content_type=fields["request_content_type"],
        request_body=fields["request_body"].encode(),
        status=fields["status"],
        response_headers=fields["response_headers"],
        response_body=fields["response_body"].encode(),
        reserialised=fields["response_body_reserialised"],
        usage=fields["usage"],
    )

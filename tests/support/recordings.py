"""Real exchanges with the OpenAI API, recorded; they lie beside the checkout, not in it.

    @needs_recordings
    @pytest.mark.parametrize("recording", recordings("/v1/responses", streamed=True), ids=str)

Without the folder such tests are skipped, and say so.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

if TYPE_CHECKING:
    from tokenbalance.model import Json

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The data folder beside the checkout."""
RECORDINGS = DATA / "openai-recordings.jsonl.gz"

needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_file(),
    reason=f"no recordings: ../shared/data/{RECORDINGS.name} is not beside this checkout",
)
"""Skips a test on a machine without the recordings."""


@dataclass(frozen=True)
class Recording:
    """One exchange, as the API answered it."""

    id: str
    source: str
    """The public project that it comes from."""
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
    """The recordings whose path begins like this; an empty list where there are none at all."""
    return [
        recording
        for recording in _all()
        if recording.path.startswith(path_prefix)
        and (streamed is None or recording.streamed is streamed)
        and (status is None or recording.status == status)
    ]


@cache
def _all() -> tuple[Recording, ...]:
    if not RECORDINGS.is_file():
        return ()
    with gzip.open(RECORDINGS) as lines:
        return tuple(_read(line) for line in lines)


def _read(line: bytes) -> Recording:
    fields = orjson.loads(line)
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

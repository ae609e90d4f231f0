"""Sends malformed and hostile requests over a raw socket and says what was wrong with the answers.

A case is one line of `tests/data/hostile.jsonl`, or of a larger collection beside the checkout,
where there is one: either the raw bytes of a connection or a method, a path, headers and a body
that no client library would let pass; and what is expected of the answer. No HTTP library takes
part, because each would repair what it is given.

    for case in load_cases():
        filled = case.filled({"KEY": key, "HOST": "127.0.0.1:8000"})
        outcome = await send(filled, "127.0.0.1", 8000)
        assert check(filled, outcome) == []
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HAND_MADE = Path(__file__).resolve().parents[1] / "data" / "hostile.jsonl"
COLLECTED = Path(__file__).resolve().parents[3] / "shared" / "data" / "bad-inputs.jsonl"

CHUNK_BYTES = 64 * 1024
PLACEHOLDER = re.compile(rb"\{([A-Z][A-Z0-9_]*)\}")
RAW = frozenset({"raw", "raw_b64"})
GENERATORS = {"range": range, "len": len, "str": str, "chr": chr, "bytes": bytes, "list": list}


@dataclass(frozen=True)
class Case:
    """One hostile connection: what is sent, and what may come back."""

    id: str
    category: str
    why: str
    method: str
    pieces: tuple[bytes, ...]
    """What is sent, with a pause of `pause_s` between two pieces."""
    pause_s: float
    half_close: bool
    """Whether the sending side is shut down after the last piece."""
    expect_status: frozenset[int | str]
    """Statuses, and "close" for a connection that ends without an answer."""
    expect_code: frozenset[str]
    upstream_max: int
    max_responses: int | None
    expect_close_s: float | None
    max_seconds: float | None
    forbidden: bytes | None
    fields: Mapping[str, Any] = field(repr=False)
    """The line as it was, for what only some tests look at (`account`, `note`, ...)."""

    @property
    def placeholders(self) -> set[str]:
        """Names that `filled` must be given."""
        texts = [*self.pieces, self.forbidden or b""]
        return {name.decode() for text in texts for name in PLACEHOLDER.findall(text)}

    def filled(self, values: Mapping[str, str]) -> Case:
        """The case with every `{NAME}` replaced.

        Raises:
            KeyError: `values` lacks a name.
        """

        def fill(text: bytes) -> bytes:
            return PLACEHOLDER.sub(lambda match: values[match[1].decode()].encode(), text)

        forbidden = None if self.forbidden is None else fill(self.forbidden)
        head, *rest = map(fill, self.pieces)
        if self.fields.keys().isdisjoint(RAW):
            head = _with_length(head)
        return dataclasses.replace(self, pieces=(head, *rest), forbidden=forbidden)


@dataclass(frozen=True)
class Response:
    """One answer, final or informational."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def code(self) -> str | None:
        """`error.code`, where the body is OpenAI's envelope."""
        try:
            return json.loads(self.body)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None


@dataclass
class Outcome:
    """Everything that came back on one connection."""

    received: bytes = b""
    responses: list[Response] = field(default_factory=list)
    """Final answers only."""
    informational: list[int] = field(default_factory=list)
    closed: bool = False
    """Whether the server ended the connection while we watched."""
    seconds: float = 0.0
    """Until the first final answer, or until the connection ended."""
    closed_after_s: float | None = None
    upstream_calls: int | None = None

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]


def load_cases(*, category: str | None = None) -> list[Case]:
    """The cases that are at hand, or those of one category."""
    return [_case(line) for line in lines() if category in (None, line["category"])]


def lines() -> list[dict[str, Any]]:
    """The same as they are written, for tests that send nothing."""
    found = [path.read_text("utf-8") for path in (HAND_MADE, COLLECTED) if path.is_file()]
    return [json.loads(line) for text in found for line in text.splitlines()]


def body_of(line: dict[str, Any]) -> bytes:
    """The body of a case that is not raw."""
    if "body_b64" in line:
        return base64.b64decode(line["body_b64"])
    if "body_gen" in line:
        before, unit, count, after = line["body_gen"]
        return (before + unit * count + after).encode()
    if "gen_py" in line:
        # An expression for a body too long to write down; the file is ours.
        text = eval(line["gen_py"], {"__builtins__": GENERATORS})  # noqa: S307 - ours
        return text if isinstance(text, bytes) else text.encode()
    return (line.get("body") or "").encode()


async def send(
    case: Case,
    host: str,
    port: int,
    *,
    upstream_calls: Callable[[], int] | None = None,
    patience_s: float = 20.0,
    quiet_s: float = 0.3,
) -> Outcome:
    """Play one filled case and watch the connection.

    Watches until it ends, or for `quiet_s` after all is sent and an answer is complete (another
    one could follow), or `patience_s` at most; where the case says when it must end, until then.
    `upstream_calls` counts what has reached the upstream so far.
    """
    calls_before = upstream_calls() if upstream_calls else 0
    reader, writer = await asyncio.open_connection(host, port)
    outcome = Outcome()
    sending = asyncio.create_task(_send_pieces(case, writer))
    try:
        await _watch(case, reader, outcome, sending, patience_s=patience_s, quiet_s=quiet_s)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    if upstream_calls:
        outcome.upstream_calls = upstream_calls() - calls_before
    return outcome


def check(case: Case, outcome: Outcome) -> list[str]:
    """What disagrees with the case's expectations, a line each; empty when all is well."""
    return [f"{case.id}: {complaint}" for complaint in _complaints(case, outcome)]


def _complaints(case: Case, outcome: Outcome) -> Iterator[str]:
    yield from _status_complaints(case, outcome)
    if case.max_responses is not None and len(outcome.responses) > case.max_responses:
        yield f"{len(outcome.responses)} answers {outcome.statuses}, at most {case.max_responses}"
    if case.expect_close_s is not None and (
        outcome.closed_after_s is None or outcome.closed_after_s > case.expect_close_s
    ):
        yield f"ended after {outcome.closed_after_s} s, expected within {case.expect_close_s} s"
    if case.max_seconds is not None and outcome.seconds > case.max_seconds:
        yield f"took {outcome.seconds:.2f} s, at most {case.max_seconds} s"
    if case.forbidden is not None and case.forbidden in outcome.received:
        yield "the answer contains what it must not"
    if outcome.upstream_calls is not None and outcome.upstream_calls > case.upstream_max:
        yield f"{outcome.upstream_calls} calls reached the upstream, at most {case.upstream_max}"


def _status_complaints(case: Case, outcome: Outcome) -> Iterator[str]:
    if 101 in outcome.informational:
        yield "the protocol was switched"
    if not outcome.responses:
        allowed = "close" in case.expect_status or case.expect_status & set(outcome.informational)
        if not outcome.closed:
            yield "no answer, and the connection stayed open"
        elif not allowed:
            yield f"ended without an answer, expected {_listed(case.expect_status)}"
        return
    first = outcome.responses[0]
    if first.status not in case.expect_status:
        yield f"status {first.status}, expected {_listed(case.expect_status)}: {first.body[:200]!r}"
    elif _has_wrong_code(case, first):
        yield f"code {first.code!r} with {first.status}, expected {_listed(case.expect_code)}"


def _has_wrong_code(case: Case, response: Response) -> bool:
    if not case.expect_code or response.status < 400 or case.method == "HEAD":
        return False
    return response.code not in case.expect_code


def _listed(values: frozenset[Any]) -> str:
    return ", ".join(sorted(map(str, values)))


# From a line of the file to bytes.


def _case(line: dict[str, Any]) -> Case:
    pieces = _composed_pieces(line) if RAW.isdisjoint(line) else _raw_pieces(line)
    forbidden = line.get("forbid_in_response")
    return Case(
        id=line["id"],
        category=line["category"],
        why=line["why"],
        method=line.get("method") or pieces[0].split(b" ", 1)[0].decode("latin-1"),
        pieces=pieces,
        pause_s=line.get("split_delay_s", 0.0),
        half_close=line.get("half_close", False),
        expect_status=frozenset(line["expect_status"]),
        expect_code=frozenset(line.get("expect_code") or ()),
        upstream_max=line["upstream_max"],
        max_responses=line.get("max_responses"),
        expect_close_s=line.get("expect_close_s"),
        max_seconds=line.get("max_seconds"),
        forbidden=None if forbidden is None else forbidden.encode(),
        fields=line,
    )


def _raw_pieces(line: dict[str, Any]) -> tuple[bytes, ...]:
    raw = line["raw"].encode() if "raw" in line else base64.b64decode(line["raw_b64"])
    if "split_at" not in line:
        return (raw,)
    before, found, after = raw.partition(line["split_at"].encode())
    assert found, f"{line['id']}: split_at is not in the request"
    return (before, found + after)


def _composed_pieces(line: dict[str, Any]) -> tuple[bytes, ...]:
    """The head and the body in one piece, the length left open until placeholders are filled."""
    body = body_of(line)
    headers = {"Host": "{HOST}", **line["headers"]}
    if line.get("chunked"):
        headers["Transfer-Encoding"] = "chunked"
        body = b"".join(_chunks(body))
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (f"{line['method']} {line['path']} HTTP/1.1\r\n{fields}\r\n".encode() + body,)


def _with_length(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    framed = re.search(rb"(?i)\r\n(?:content-length|transfer-encoding):", head)
    if framed or (not body and head.startswith((b"GET ", b"HEAD ", b"DELETE ", b"OPTIONS "))):
        return request
    return b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        piece = body[start : start + CHUNK_BYTES]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


# The connection.


async def _send_pieces(case: Case, writer: asyncio.StreamWriter) -> None:
    for number, piece in enumerate(case.pieces):
        if number:
            await asyncio.sleep(case.pause_s)
        for start in range(0, len(piece), CHUNK_BYTES * 4):
            writer.write(piece[start : start + CHUNK_BYTES * 4])
            await writer.drain()
    if case.half_close:
        writer.write_eof()


async def _watch(
    case: Case,
    reader: asyncio.StreamReader,
    outcome: Outcome,
    sending: asyncio.Task[None],
    *,
    patience_s: float,
    quiet_s: float,
) -> None:
    started = time.monotonic()
    end = started + (patience_s if case.expect_close_s is None else case.expect_close_s + 1)
    while (left_s := end - time.monotonic()) > 0:
        wait_s = left_s
        if outcome.responses and case.expect_close_s is None:
            wait_s = min(wait_s, quiet_s)
        try:
            data = await asyncio.wait_for(reader.read(CHUNK_BYTES), wait_s)
        except TimeoutError:
            if sending.done():
                break
            continue
        except ConnectionError:
            data = b""
        outcome.received += data
        _note(case, outcome, started, ended=not data)
        if not data:
            break


def _note(case: Case, outcome: Outcome, started: float, *, ended: bool) -> None:
    elapsed_s = time.monotonic() - started
    had_response = bool(outcome.responses)
    responses = list(parse_responses(outcome.received, case.method, ended=ended))
    outcome.responses = [response for response in responses if response.status >= 200]
    outcome.informational = [response.status for response in responses if response.status < 200]
    if ended:
        outcome.closed = True
        outcome.closed_after_s = elapsed_s
    if not had_response:
        outcome.seconds = elapsed_s


def parse_responses(data: bytes, method: str, *, ended: bool) -> Iterator[Response]:
    """The complete answers in what has been received; the last one may be cut off by the end."""
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return
        start, *lines = head.decode("latin-1").split("\r\n")
        status = int(start.split(" ")[1])
        headers = tuple(
            (name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
        )
        has_body = status >= 200 and status not in (204, 304) and method != "HEAD"
        body = _take_body(dict(headers), rest, ended=ended) if has_body else (b"", rest)
        if body is None:
            return
        yield Response(status, headers, body[0])
        data = body[1]


def _take_body(headers: dict[str, str], rest: bytes, *, ended: bool) -> tuple[bytes, bytes] | None:
    """The body and what follows it, or None while it is incomplete."""
    if headers.get("transfer-encoding") == "chunked":
        return _take_chunks(rest) or ((rest, b"") if ended else None)
    if "content-length" not in headers:
        return (rest, b"") if ended else None
    length = int(headers["content-length"])
    if len(rest) < length and not ended:
        return None
    return rest[:length], rest[length:]


def _take_chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while b"\r\n" in rest:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            _, found, after = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return (body, after) if found else None
        body, rest = body + rest[:size], rest[size + 2 :]
    return None

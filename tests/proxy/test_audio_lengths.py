"""The length of an uploaded recording: read from what is there, not from what a head says."""

from __future__ import annotations

import io
import random
import struct
import wave
from typing import Final

import pytest

from tokenbalance.proxy.audio_lengths import seconds_of

SIZE_MAX: Final = 1024 * 1024


def length_of(file: bytes) -> float | None:
    return seconds_of(io.BytesIO(file), len(file))


def wav(seconds: int, rate: int = 8_000, *, claims: int | None = None) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(bytes(2 * rate * seconds))
    body = file.getvalue()
    return body if claims is None else body[:40] + struct.pack("<I", claims) + body[44:]


def frames(number: int, kilobits: int = 128) -> bytes:
    """Frames of MPEG 1, layer 3, at 44,100 Hz: 1,152 samples each."""
    index = {32: 1, 128: 9, 320: 14}[kilobits]
    length = 144_000 * kilobits // 44_100
    return (bytes([0xFF, 0xFB, index << 4, 0]).ljust(length, b"\x00")) * number


FRAME_S: Final = 1_152 / 44_100


def with_xing(number: int) -> bytes:
    """A head that says there are so many frames."""
    head = frames(1)
    xing = b"Xing" + struct.pack(">iii", 3, number, 417 * number)
    return head[:36] + xing + head[36 + len(xing) :]


def element(kind: str, body: bytes, *, is_open: bool = False) -> bytes:
    size = b"\x01" + b"\xff" * 7 if is_open else struct.pack(">Q", 1 << 56 | len(body))
    return bytes.fromhex(kind) + size + body


TRACKS: Final = element(
    "1654AE6B", element("AE", element("D7", b"\x01") + element("86", b"A_OPUS"))
)


def webm(seconds: int) -> bytes:
    """As a browser records: no duration, and clusters that end where the next one begins."""
    clusters = b"".join(
        element(
            "1F43B675",
            element("E7", struct.pack(">I", 1_000 * number))
            + b"".join(
                element("A3", b"\x81" + struct.pack(">h", 20 * block) + b"\x80\x08opus")
                for block in range(50)
            ),
            is_open=True,
        )
        for number in range(seconds)
    )
    return element("1A45DFA3", b"") + element("18538067", TRACKS + clusters, is_open=True)


@pytest.mark.parametrize(
    ("file", "seconds"),
    [
        (wav(3), 3),
        (wav(3, claims=16), 3),
        (wav(3, claims=2**32 - 1), 3),
        (frames(100), 100 * FRAME_S),
        (with_xing(3) + frames(99), 100 * FRAME_S),
        (frames(10, 320) + frames(200, 32), 210 * FRAME_S),
        (
            b"ID3\x04\x00\x00\x00\x00\x10\x00" + frames(5)[:2048].ljust(2048) + frames(50),
            50 * FRAME_S,
        ),
        (b"junk" * 9 + frames(20), None),
        (frames(20) + b"junk" * 9 + frames(20), 40 * FRAME_S),
        (webm(5), 5.1),
    ],
    ids=[
        "wav",
        "wav with a short claim",
        "wav of a stream",
        "mp3",
        "mp3 with a short claim",
        "mp3 that becomes slower",
        "mp3 with a tag",
        "no head",
        "mp3 with a gap",
        "webm",
    ],
)
def test_a_recording_is_as_long_as_what_is_there(file: bytes, seconds: float | None) -> None:
    read = length_of(file)
    if seconds is None:
        assert read is None
    else:
        assert read is not None
        assert seconds * 0.999 <= read <= seconds * 1.02


def test_a_flac_is_no_shorter_than_its_bytes() -> None:
    # 8,000 Hz, 1 channel, 16 bits, and a claim of 10 samples.
    packed = (8_000 << 44) | (0 << 41) | (15 << 36) | 10
    info = struct.pack(">HH", 4_096, 4_096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    file = b"fLaC\x80\x00\x00\x22" + info + bytes(160_000)
    assert length_of(file) == pytest.approx(10, rel=0.01)


HEADS: Final = {
    "wav": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff",
    "wav with a long list": b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\x7f",
    "flac": b"fLaC\x04\xff\xff\xff",
    "ogg": b"OggS\x00\x02",
    "mp4": b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00",
    "mp4 in itself": b"\x00\x00\x00\x08ftyp" + b"\x00\x00\x00\x08moov" * 1_000,
    "mp3": b"\xff\xfb\x90\x00",
    "mp3 with a long tag": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
    "webm": b"\x1aE\xdf\xa3\x80",
    "webm of nothing": b"\x1aE\xdf\xa3\x80" + b"\xa3\x80" * 10_000,
    "sync bytes": b"\xff\xfb" * 10_000,
    "empty": b"",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))
def test_no_file_raises_or_reads_on_and_on(head: bytes) -> None:
    noise = random.Random(len(head)).randbytes(64 * 1024)  # noqa: S311 - the same noise each time
    for file in (head, head + noise, head + bytes(64 * 1024), head + b"\xff" * 64 * 1024):
        for end in (len(file), len(file) // 2, min(len(file), 40)):
            seconds = length_of(file[:end])
            assert seconds is None or seconds > 0

"""Recordings whose heads lie about their length: what decodes counts, or nothing is read."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.proxy.test_audio_lengths import TRACKS, element, length_of, webm

if TYPE_CHECKING:
    from collections.abc import Callable

UNREADABLE: Final = None


def form(channels: int, rate: int, bits: int, block: int) -> bytes:
    return b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block, block, bits)


def riff(*chunks: bytes) -> bytes:
    return b"RIFF\xff\xff\xff\xffWAVE" + b"".join(chunks)


def samples(number: int) -> bytes:
    return b"data" + struct.pack("<I", number) + bytes(number)


SLOW: Final = form(1, 8_000, 8, 1)
FAST: Final = form(8, 192_000, 32, 32)


def page(packets: list[bytes], granule: int, flags: int = 0, serial: int = 7) -> bytes:
    lengths = b"".join(b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, 0, 0, len(lengths))
    return head + lengths + b"".join(packets)


OPUS: Final = page([b"OpusHead\x01\x01" + bytes(9)], 0, 2) + page([b"OpusTags" + bytes(8)], 0)
"""Its head."""


def opus(pages: int, packet: bytes = b"\x18abc", granule: int = 48_000) -> bytes:
    """Pages of 50 packets, of 60 ms unless told."""
    return OPUS + b"".join(page([packet] * 50, granule) for _ in range(pages))


def vorbis(packets: int) -> bytes:
    """Blocks of 256 and 2,048 samples, at 8,000 Hz."""
    head = b"\x01vorbis" + struct.pack("<IBIIII", 0, 1, 8_000, 0, 0, 0) + b"\xb8\x01"
    return page([head], 0, 2) + page([b"\x00ab"] * packets, 10)


def blocks(number: int, packet: bytes = b"\x18abc") -> bytes:
    return element("A3", b"\x81\x00\x00\x80" + packet) * number


def clusters(*bodies: bytes, info: bytes = b"", gap: bytes = b"", tracks: bytes = TRACKS) -> bytes:
    inner = gap.join(element("1F43B675", element("E7", b"\x00") + body) for body in bodies)
    head = element("1A45DFA3", b"")
    return head + element("18538067", info + tracks + inner, is_open=True)


def check_of(head: bytes) -> int:
    """The remainder by x^8 + x^2 + x + 1."""
    check = 0
    for byte in head:
        check ^= byte
        for _ in range(8):
            check = (check << 1 ^ (0x07 if check & 0x80 else 0)) & 0xFF
    return check


def flac(frames: int, total: int = 1) -> bytes:
    """Frames of 4,096 samples at 8,000 Hz, one channel, 16 bits."""
    packed = (8_000 << 44) | (15 << 36) | total
    info = struct.pack(">HH", 4_096, 4_096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    body = b""
    for number in range(frames):
        head = b"\xff\xf8\xc4\x08" + bytes([number])
        body += head + bytes([check_of(head)]) + bytes(5)
    return b"fLaC\x80\x00\x00\x22" + info + body


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def m4a(packets: int, delta: int, timescale: int = 8_000, *more: bytes) -> bytes:
    """AAC at 8,000 Hz: packets of 1,024 samples."""
    config = b"\x05\x02\x15\x88"
    described = b"\x04\x11" + bytes(13) + config
    esds = box(b"esds", bytes(4), b"\x03\x16" + bytes(3) + described)
    table = box(
        b"stbl",
        box(b"stsd", bytes(7) + b"\x01", box(b"mp4a", bytes(28), esds)),
        box(b"stts", struct.pack(">IIII", 0, 1, packets, delta)),
        box(b"stsz", struct.pack(">III", 0, 20, packets)),
        *more,
    )
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, timescale, 0, 0)),
        box(b"hdlr", bytes(8) + b"soun" + bytes(12)),
        box(b"minf", table),
    )
    return box(b"ftyp", b"M4A ") + box(b"moov", box(b"mvhd", bytes(100)), box(b"trak", media))


def alac(packets: int) -> bytes:
    """Packets of 4,096 samples at 8,000 Hz, of no time."""
    told = struct.pack(">IIIIIII", 0, 4_096, 0, 0, 0, 0, 8_000)
    entry = box(b"alac", bytes(28), box(b"alac", told))
    table = box(
        b"stbl",
        box(b"stsd", bytes(7) + b"\x01", entry),
        box(b"stts", struct.pack(">IIII", 0, 1, packets, 0)),
        box(b"stsz", struct.pack(">III", 0, 20, packets)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, 8_000, 0, 0)),
        box(b"hdlr", bytes(8) + b"soun" + bytes(12)),
        box(b"minf", table),
    )
    return box(b"ftyp", b"M4A ") + box(b"moov", box(b"trak", media))


LIES: Final = {
    "alac of no time": (alac(100), 51.2),
    "wav, plain": (riff(SLOW, samples(80_000)), 10),
    "wav with two forms": (riff(FAST, SLOW, samples(80_000)), UNREADABLE),
    "wav with a form after its samples": (riff(FAST, samples(80_000), SLOW), UNREADABLE),
    "wav of 65,535 channels": (riff(form(65_535, 8_000, 8, 65_535), samples(800)), UNREADABLE),
    "wav of 4 GHz": (riff(form(1, 2**32 - 1, 8, 1)[:16] + bytes(8), samples(800)), UNREADABLE),
    "wav of 400 kHz": (riff(form(1, 400_000, 8, 1), samples(800)), UNREADABLE),
    "wav with wide blocks": (riff(form(1, 8_000, 8, 4), samples(800)), UNREADABLE),
    "opus": (opus(10), 30),
    "opus of one time": (opus(200, granule=0), 600),
    "opus of many frames": (opus(10, b"\x1b\x02abc"), 60),
    "opus in 2.5 ms": (opus(10, b"\x80abc"), 1.25),
    "opus after opus": (opus(10) + opus(10), 60),
    "opus with a gap": (opus(10) + bytes(8) + opus(10), UNREADABLE),
    "opus with packets that never end": (
        OPUS + (page([b"\x18" + bytes(254)], 0).replace(b"\x02\xff\x00", b"\x01\xff")) * 20, 1.2,
    ),
    "webm with an element beyond its end": (
        clusters(blocks(1)) + b"\xec\x10\x7f\xff\xffab", UNREADABLE,
    ),
    "vorbis of one time": (vorbis(100), 12.8),
    "webm of time 0": (clusters(blocks(100), blocks(100)), 12),
    "webm of the smallest scale": (
        clusters(blocks(100), info=element("1549A966", element("2AD7B1", b"\x01"))), 6,
    ),
    "webm with a gap": (clusters(blocks(1), blocks(100), gap=bytes(8)), UNREADABLE),
    "webm with a hidden cluster": (clusters(blocks(1), gap=b"") + b"\xec\x88abc", UNREADABLE),
    "webm without tracks": (clusters(blocks(9), tracks=b""), UNREADABLE),
    "webm with laces": (clusters(element("A3", b"\x81\x00\x00\x82\x01abc")), UNREADABLE),
    "webm twice": (webm(2) + webm(2), UNREADABLE),
    "flac of one sample": (flac(100), 51.2),
    "flac": (flac(125, 512_000), 64),
    "m4a": (m4a(100, 1_024), 12.8),
    "m4a of no time": (m4a(100, 0), 12.8),
    "m4a of a fast clock": (m4a(100, 1_024, 2**31), 12.8),
    "m4a with two tables": (
        m4a(100, 1_024, 8_000, box(b"stsz", struct.pack(">III", 0, 20, 9_000))), UNREADABLE,
    ),
    "m4a in fragments": (m4a(1, 1_024) + box(b"moof", bytes(8)), UNREADABLE),
    "m4a without a table": (m4a(1, 1).replace(b"stts", b"free"), UNREADABLE),
}  # fmt: skip


@pytest.mark.parametrize(("file", "seconds"), LIES.values(), ids=list(LIES))
def test_a_recording_is_no_shorter_than_what_decodes(file: bytes, seconds: float | None) -> None:
    assert length_of(file) == (seconds and pytest.approx(seconds, rel=0.001, abs=0.13))


MANY: Final = 2 * 1024 * 1024
FLOODS: Final[dict[str, Callable[[], bytes]]] = {
    "opus": lambda: OPUS + page([b"\x18"] * 255, 0) * (MANY // 537),
    "opus without content": lambda: OPUS + page([b""] * 255, 0) * (MANY // 282),
    "small pages": lambda: OPUS + page([b"\x18"], 0) * (MANY // 29),
    "flac": lambda: flac(100) + flac(100)[42:] * (MANY // 1_100),
    "webm": lambda: clusters(blocks(MANY // 16)),
    "times": lambda: m4a(1, 1, 8_000, box(b"stts", bytes(MANY))),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
def test_a_file_of_nothing_but_small_pieces_is_read_quickly(flood: Callable[[], bytes]) -> None:
    file = flood()
    began = time.thread_time()
    _ = length_of(file)
    assert time.thread_time() - began < 2

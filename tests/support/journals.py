"""Journals of processes that die, and a look at what they left."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tokenbalance.books.holds.journal import (
    Entry,
    Journal,
    State,
)
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Usage
from tokenbalance.openai.metering.bills import COUNT_MAX

if TYPE_CHECKING:
    from tokenbalance.books.holds.journal import Abandoned


DEADLINE_S = 20.0


ENTRY = Entry("tb_019ab3f0c2d1a1b2c3d4e5f6a7b8c9d0", 7, 9, "/chat/completions")


USAGE = Usage({"input": 12, "cached_input": 4, "output": 345, "reasoning": 300}, total=357)


LARGEST = Usage(dict.fromkeys(UNITS.own_tokens[:8], COUNT_MAX), COUNT_MAX)


EVERYTHING = Usage(
    {
        "input": 272_000,
        "cached_input": 200_000,
        "cache_write": 50_000,
        "cache_write_12h": 20_000,
        "output": 128_000,
        "reasoning": 100_000,
        "image_tool_input": 9_000,
        "image_tool_cached_input": 1_000,
        "image_tool_image_input": 5_000,
        "image_tool_output": 12_480,
        "image_tool_image_output": 12_480,
        "call:web_search": 12,
        "session:code_interpreter": 1,
        "tier:priority": 1,
    },
    421_480,
)
"""About as much as one response may report."""


def entry(number: int) -> Entry:
    return Entry(f"tb_{number:032}", number, number + 1, "/responses")


def die(journal: Journal) -> None:
    """End as a killed process does: the kernel closes its files, nothing else happens."""
    if journal._slots.file.descriptor >= 0:
        journal._slots.file.close()
    journal._closed = True


def path_of(journal: Journal) -> Path:
    return journal._slots.file.path


def remains(folder: Path) -> Abandoned:
    """What the only dead process in the folder left."""
    with_own_file = Journal.open(folder)
    (abandoned,) = with_own_file.adopt()
    with_own_file.close()
    return abandoned


def left(folder: Path) -> dict[str, tuple[State, Usage | None]]:
    abandoned = remains(folder)
    abandoned.leave()
    return {found.entry.request_id: (found.state, found.usage) for found in abandoned.requests}


def adopt_text(folder: Path, text: bytes) -> Abandoned:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1-dead.journal").write_bytes(text)
    return remains(folder)


def sealed(state: bytes, payload: bytes) -> bytes:
    """A line by the file's description, not by the code that writes it."""
    text = payload + b" " * (500 - len(payload)) + b"\n"
    return state + b" " + f"{zlib.crc32(text):08x}".encode() + b" " + text


def refuse(journal: Journal) -> None:
    """Let every write meet a full device."""
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._slots.file.descriptor, inheritable=False)
    os.close(full)


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, "Input/output error")

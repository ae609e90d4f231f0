"""Rates as they are written into a slot, which has no room for the whole text of most.

    {...}    the text itself
    ~...     the same, compressed with a dictionary of what such texts are made of

Owns the dictionary, which is part of the format: a change to it needs another sign.
"""

from __future__ import annotations

import base64
import zlib
from functools import lru_cache
from typing import Final

_PACKED: Final = "~"
_TEXT_BYTES_MAX: Final = 64 * 1024
_DAMAGED: Final = "Packed rates are damaged."
# What is most frequent comes last, where it is found with the fewest bits.
_DICTIONARY: Final = (
    b'"gb_day": "image": "character": "second_video": "second_audio": "svg_input": "svg_output": '
    b'"svg_reasoning": "image_tool_input": "image_tool_cached_input": "image_tool_image_input": '
    b'"image_tool_cached_image_input": "image_tool_output": "image_tool_image_output": "request": '
    b'"audio_input": "audio_output": "image_input": "image_output": "cached_image_input": '
    b'"asked": {"tier": "window": "is_batch": true, "image_model": "gpt-image-2", "svg_model": '
    b'"cache_lifetime": "12h", "tools": ["code_interpreter", "file_search", "shell", "web_search"]'
    b'"factors": {"tiers": {"fast": "2", "flex": "0.5", "priority": "2", "ultrafast": "3", '
    b'"standard": "5/3", "auto": "default": "1.75"}, "assumed": "2", "always": "dearest": "2", '
    b'"long": {"above": 272000, "input": "2", "output": "1.5"}}}'
    b'"call:file_search": "2500", "call:web_search": "10000", "session:code_interpreter": "30000", '
    b'"session:shell": "30000", "reasoning": "cache_write": "2.5", "cache_write_12h": "5", '
    b'{"input": "0.15", "cached_input": "0.075", "output": "0.6", '
)


@lru_cache(maxsize=256)
def packed_rates(text: str) -> str:
    """Write rates as short as they get."""
    packer = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARY)
    packed = packer.compress(text.encode()) + packer.flush()
    short = _PACKED + base64.b85encode(packed).decode()
    return short if len(short) < len(text) else text


def unpacked_rates(written: str) -> str:
    """Read rates as they were written.

    Raises:
        ValueError: they are damaged.

    """
    if not written.startswith(_PACKED):
        return written
    unpacker = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        text = unpacker.decompress(base64.b85decode(written[1:]), _TEXT_BYTES_MAX)
    except zlib.error as error:
        raise ValueError(_DAMAGED) from error
    if not unpacker.eof:
        raise ValueError(_DAMAGED)
    return text.decode()

"""Compressed bytes in the codings that the standard library of every Python does not have."""

from __future__ import annotations

import sys
from typing import cast

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd  # pyright: ignore[reportUnreachable] - types are 3.11's
else:
    from backports import zstd

__all__ = ["br", "zstd"]


def br(data: bytes) -> bytes:
    """Code as `Content-Encoding: br` says, quickly rather than well."""
    return cast("bytes", brotli.compress(data, quality=4))  # pyright: ignore[reportUnknownMemberType] - it has no types

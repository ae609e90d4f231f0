"""Bodies of one size and different shapes, each as costly to read as its size allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VALUES_MAX: Final = 390_000
"""A little below what one body may have."""
_CHAT: Final = b'{"model":"gpt-4o","stream":true,"messages":[%b],"stream_options":{}}'
_EMBEDDINGS: Final = b'{"model":"text-embedding-3-small","input":[%b],"encoding_format":"float"}'


def _message(content: bytes) -> bytes:
    return b'{"role":"user","content":"%b"}' % content


def _one_text(unit: bytes) -> Callable[[int], bytes]:
    return lambda size: _CHAT % _message(unit * (size // len(unit)))


def _emoji(size: int) -> bytes:
    """ASCII but for the end: four bytes for each character in memory."""
    return _CHAT % _message(b"a" * size + "\N{GRINNING FACE}".encode())


def _messages(size: int) -> bytes:
    number = min(_VALUES_MAX // 3, size // 40)
    each = _message(b"x" * max(size // number - 32, 1))
    return _CHAT % b",".join([each] * number)


def _images(size: int) -> bytes:
    """Messages of a megabyte."""
    number = max(size // 2**20, 1)
    return _CHAT % b",".join([_message(b"QUJD" * (size // number // 4))] * number)


def _tokens(size: int) -> bytes:
    number = min(_VALUES_MAX, size // 7)
    return _EMBEDDINGS % b",".join([b"123456".rjust(size // number - 1)] * number)


def _lists(size: int) -> bytes:
    """An array of arrays of arrays, which a schema may contain."""
    number = min(_VALUES_MAX // 4, size // 8)
    deep = b",".join([b"[[1]]".ljust(size // number - 1)] * number)
    return _CHAT.replace(b'{"model"', b'{"metadata":[' + deep + b'],"model"') % _message(b"x")


SHAPES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "one text": _one_text(b"abcd efg "),
    "one text, an emoji at its end": _emoji,
    "one text of Chinese": _one_text("\u4e2d\u6587".encode()),
    "one text of escapes": _one_text(b"\\n\\u003a\\\\"),
    "texts of 1 MiB": _images,
    "many messages": _messages,
    "token arrays": _tokens,
    "deep lists": _lists,
}

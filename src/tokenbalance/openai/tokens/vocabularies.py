"""The two vocabularies that ship with the package, verified and loaded once.

It must never use tiktoken's own loader, which downloads without a timeout.
"""

from __future__ import annotations

import threading
from base64 import b64decode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import tiktoken

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"

# Checksums and patterns are those of tiktoken_ext/openai_public.py, tiktoken 0.14.0.
_SHA256: Final = {
    O200K: "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    CL100K: "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
LONGEST_TOKEN_BYTES: Final = {O200K: 128, CL100K: 128}
"""Bytes of the longest token of each file: a run of spaces."""
_CONTRACTION: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERN: Final = {
    O200K: "|".join((
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        + _CONTRACTION,
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        + _CONTRACTION,
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )),
    CL100K: (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
        r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}  # fmt: skip
_LOADING: Final = threading.Lock()


class CorruptVocabularyError(RuntimeError):
    """A vocabulary file of the package is not the one that was shipped."""


def load() -> None:
    """Read both vocabularies, so that no request has to wait (about a second, 150 MB).

    Raises:
        CorruptVocabularyError: a file does not have its checksum.
    """
    for name in _SHA256:
        vocabulary(name)


def vocabulary(name: str) -> tiktoken.Encoding:
    """The encoding `O200K` or `CL100K`, loaded on first use.

    Raises:
        CorruptVocabularyError: its file does not have its checksum.
    """
    with _LOADING:
        return _read(name)


@cache
def _read(name: str) -> tiktoken.Encoding:
    import tiktoken  # noqa: PLC0415 - slow to import, and commands need only the names above

    resource = files("tokenbalance.openai.tokens").joinpath("vocabularies", f"{name}.tiktoken")
    contents = resource.read_bytes()
    if sha256(contents).hexdigest() != _SHA256[name]:
        message = f"The vocabulary {name} of this installation is damaged; install it again."
        raise CorruptVocabularyError(message)
    # Not tiktoken.load: it keeps a second copy in a temporary folder that others may write to.
    lines = (line.split() for line in contents.splitlines())
    ranks = {b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding(name, pat_str=_PATTERN[name], mergeable_ranks=ranks, special_tokens={})

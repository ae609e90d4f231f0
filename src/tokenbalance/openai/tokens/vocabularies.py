"""The two vocabularies that ship with the package, verified and loaded once, when first needed.

Whoever needs one that is not loaded waits for the one thread that loads them. That thread must have
the priority of the process, so `prepare` starts it: a thread inherits the priority of the thread
that starts it, and a slow load by one that gives way would keep the interpreter from all others.

It must never use tiktoken's own loader, which downloads without a timeout.
"""

from __future__ import annotations

from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import Future

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
_LOADED: Final[dict[str, tiktoken.Encoding]] = {}
_LOADER: Final = ThreadPoolExecutor(1, thread_name_prefix="vocabularies")


class CorruptVocabularyError(RuntimeError):
    """A vocabulary file of the package is not the one that was shipped."""


def load() -> None:
    """Read both vocabularies in this thread, so that nobody waits later (about a second, 70 MB).

    For a process that is about to fork: its children share what it has loaded.

    Raises:
        CorruptVocabularyError: a file does not have its checksum.
    """
    for name in _SHA256:
        _ = _load(name)


def prepare() -> None:
    """Check the files, and start the thread that loads them; for a thread of usual priority.

    Raises:
        CorruptVocabularyError: a file does not have its checksum.
    """
    for name in _SHA256.keys() - _LOADED.keys():
        _ = _contents(name)
    _ = _LOADER.submit(_SHA256.keys)


def loading(name: str) -> Future[object] | None:
    """What to wait for before `vocabulary(name)` returns at once; None if it does so already."""
    return None if name in _LOADED else _LOADER.submit(_load, name)


def vocabulary(name: str) -> tiktoken.Encoding:
    """The encoding `O200K` or `CL100K`; blocks while it is loaded.

    Raises:
        CorruptVocabularyError: its file does not have its checksum.
    """
    loaded = _LOADED.get(name)
    return _LOADER.submit(_load, name).result() if loaded is None else loaded


def _load(name: str) -> tiktoken.Encoding:
    loaded = _LOADED.get(name)
    if loaded is None:
        loaded = _LOADED[name] = _read(name)
    return loaded


def _read(name: str) -> tiktoken.Encoding:
    import tiktoken  # noqa: PLC0415 - slow to import, and needed only to count

    # Not tiktoken.load: it keeps a second copy in a temporary folder that others may write to.
    lines = (line.split() for line in _contents(name).splitlines())
    ranks = {b64decode(token): int(rank) for token, rank in lines}
    encoding = tiktoken.Encoding(
        name, pat_str=_PATTERN[name], mergeable_ranks=ranks, special_tokens={}
    )
    # The encoding counts with a copy of its own and keeps this one, which is a third of its memory,
    # only to be pickled.
    ranks.clear()
    return encoding


def _contents(name: str) -> bytes:
    resource = files("tokenbalance.openai.tokens").joinpath("vocabularies", f"{name}.tiktoken")
    contents = resource.read_bytes()
    if sha256(contents).hexdigest() != _SHA256[name]:
        message = f"The vocabulary {name} of this installation is damaged; install it again."
        raise CorruptVocabularyError(message)
    return contents

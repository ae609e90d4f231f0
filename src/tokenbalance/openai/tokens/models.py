"""Facts about models, by the longest known prefix of their names, and which names there may be.

From OpenAI's model pages. A name that nobody knows yet is taken for a large current model, so
that what is held for it is enough; at an upstream that is not OpenAI its vocabulary is unknown.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import ModelNotFound
from tokenbalance.model import OPENAI
from tokenbalance.openai.tokens.vocabularies import CL100K, O200K, vocabulary

if TYPE_CHECKING:
    import tiktoken

    from tokenbalance.model import UpstreamTraits


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Tokens of one image at most: the larger of what `detail` may ask for."""

    low: int
    """With `detail: "low"`."""
    high: int
    """With any other detail, for an image of the worst size."""


@dataclass(frozen=True, slots=True)
class Model:
    """What bounds a request to one model, in tokens."""

    context: int
    """Input and output of one turn together."""
    maximum_output: int
    is_reasoning: bool
    image: ImageRule
    encoding: str | None = O200K
    """None: its vocabulary is not known, and no token of it is shorter than a byte."""
    overhead: int = 0
    """What the upstream adds to every prompt of this model by itself."""
    responses_overhead: int = 0
    """What `/responses` adds to a prompt by itself (seen in 2025, model snapshots as they were)."""
    responses_tools_overhead: int = 0
    """What `/responses` adds where there are functions."""

    @property
    def is_foreign(self) -> bool:
        """It is not OpenAI's: neither its vocabulary nor its server's defaults are known."""
        return self.encoding is None


def _tiles(base: int, tile: int) -> ImageRule:
    # 2048 x 768 pixels after scaling: 4 x 2 tiles of 512 pixels.
    return ImageRule(low=base, high=base + 8 * tile)


def _patches(tokens: int) -> ImageRule:
    return ImageRule(low=tokens, high=tokens)


_GPT_4O_IMAGE: Final = _tiles(85, 170)
_O_IMAGE: Final = _tiles(75, 150)
_GPT_5_IMAGE: Final = _tiles(70, 140)
# 1,536 patches times the model's factor (1.62, 1.72, 2.46).
_MINI_IMAGE: Final = _patches(2_489)
_O4_IMAGE: Final = _patches(2_642)
_NANO_IMAGE: Final = _patches(3_779)
# Up to 10,000 patches with `detail: "original"`, and a fifth above for factors unpublished.
_ORIGINAL_IMAGE: Final = _patches(12_000)

_UNKNOWN: Final = Model(1_050_000, 128_000, is_reasoning=True, image=_tiles(2_833, 5_667))
"""Of every rule the largest number."""
_FOREIGN: Final = replace(_UNKNOWN, encoding=None)


def _chat(context: int, output: int, image: ImageRule, encoding: str = O200K) -> Model:
    return Model(context, output, is_reasoning=False, image=image, encoding=encoding)


def _reasoning(context: int, output: int, image: ImageRule) -> Model:
    return Model(context, output, is_reasoning=True, image=image)


_GPT_35: Final = _chat(16_385, 4_096, _GPT_4O_IMAGE, CL100K)
_GPT_4_TURBO: Final = _chat(128_000, 4_096, _GPT_4O_IMAGE, CL100K)
_GPT_4O: Final = Model(
    128_000,
    16_384,
    is_reasoning=False,
    image=_GPT_4O_IMAGE,
    responses_overhead=18,
    responses_tools_overhead=216,
)
_GPT_4O_MINI: Final = _chat(128_000, 16_384, _tiles(2_833, 5_667))
_COMPLETION: Final = _chat(16_384, 16_384, _GPT_4O_IMAGE, CL100K)
_GPT_5_LARGE: Final = _reasoning(1_050_000, 128_000, _ORIGINAL_IMAGE)
_EMBEDDING: Final = _chat(8_192, 0, _GPT_4O_IMAGE, CL100K)

_BY_PREFIX: Final = {
    "babbage-002": _COMPLETION,
    "chatgpt-4o": _GPT_4O,
    "computer-use-preview": _chat(8_192, 1_024, _tiles(65, 129)),
    "davinci-002": _COMPLETION,
    "gpt-3.5": _GPT_35,
    "gpt-3.5-turbo-16k": _chat(16_385, 16_385, _GPT_4O_IMAGE, CL100K),
    "gpt-3.5-turbo-instruct": _chat(4_097, 4_097, _GPT_4O_IMAGE, CL100K),
    "gpt-35": _GPT_35,
    "gpt-4": _chat(8_192, 8_192, _GPT_4O_IMAGE, CL100K),
    "gpt-4-0125": _GPT_4_TURBO,
    "gpt-4-1106": _GPT_4_TURBO,
    "gpt-4-32k": _chat(32_768, 32_768, _GPT_4O_IMAGE, CL100K),
    "gpt-4-turbo": _GPT_4_TURBO,
    "gpt-4-vision": _GPT_4_TURBO,
    "gpt-4.": _chat(1_047_576, 32_768, _GPT_4O_IMAGE),
    "gpt-4.1-mini": _chat(1_047_576, 32_768, _MINI_IMAGE),
    "gpt-4.1-nano": _chat(1_047_576, 32_768, _NANO_IMAGE),
    "gpt-4.5": _GPT_4O,
    "gpt-4o": _GPT_4O,
    "gpt-4o-mini": _GPT_4O_MINI,
    "gpt-5": _reasoning(400_000, 128_000, _GPT_5_IMAGE),
    "gpt-5-chat": _chat(128_000, 16_384, _GPT_5_IMAGE),
    "gpt-5-mini": _reasoning(400_000, 128_000, _MINI_IMAGE),
    "gpt-5-nano": _reasoning(400_000, 128_000, _NANO_IMAGE),
    "gpt-5-pro": _reasoning(400_000, 272_000, _GPT_5_IMAGE),
    # From 5.1 on, patches and tiles are told apart nowhere in public: the larger.
    "gpt-5.": _GPT_5_LARGE,
    "gpt-5.1-chat": _chat(128_000, 16_384, _ORIGINAL_IMAGE),
    "gpt-5.2-chat": _chat(128_000, 16_384, _ORIGINAL_IMAGE),
    "gpt-5.3-chat": _chat(128_000, 16_384, _ORIGINAL_IMAGE),
    "gpt-audio": _GPT_4O,
    "o1": _reasoning(200_000, 100_000, _O_IMAGE),
    "o1-mini": Model(128_000, 65_536, is_reasoning=True, image=_O_IMAGE, overhead=7),
    "o1-preview": _reasoning(128_000, 32_768, _O_IMAGE),
    "o3": _reasoning(200_000, 100_000, _O_IMAGE),
    "o3-mini": Model(200_000, 100_000, is_reasoning=True, image=_O_IMAGE, responses_overhead=56),
    "o4": _reasoning(200_000, 100_000, _O4_IMAGE),
    "text-embedding-": _EMBEDDING,
}
_LONGEST_FIRST: Final = sorted(_BY_PREFIX, key=len, reverse=True)
_LONGEST_NAME: Final = 255
_SHOWN_NAME: Final = 128
_OPENAI_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]*")
_END_OF_FAMILY: Final = frozenset("-.:@")


@lru_cache(maxsize=1024)
def model_for(name: str, upstream: UpstreamTraits = OPENAI) -> Model:
    """The facts about the model called `name`, with a fine-tune's `ft:` set aside."""
    if upstream.is_openai:
        prefix = _known_prefix(name.removeprefix("ft:"))
        return _UNKNOWN if prefix is None else _BY_PREFIX[prefix]
    name = name.removeprefix("openai/").removeprefix("azure/")  # as gateways call them
    prefix = _known_prefix(name)
    if prefix is None or not upstream.knows_openai_models or not _is_family(prefix, name):
        return _FOREIGN
    return _BY_PREFIX[prefix]


def _known_prefix(name: str) -> str | None:
    return next((prefix for prefix in _LONGEST_FIRST if name.startswith(prefix)), None)


def _is_family(prefix: str, name: str) -> bool:
    """Whether `name` goes on as OpenAI's do: `gpt-4-turbo`, but not `gpt-4all`."""
    return prefix[-1] in _END_OF_FAMILY or name[len(prefix) :][:1] in {"", *_END_OF_FAMILY}


def encoding_for(model: str) -> tiktoken.Encoding:
    """The encoding of OpenAI's model `model`; that of current models for a name unknown."""
    return encoding_of(model_for(model))


def encoding_of(model: Model) -> tiktoken.Encoding:
    """The encoding of a model; that of current models of OpenAI's where its own is not known."""
    return vocabulary(model.encoding or O200K)


@lru_cache(maxsize=1024)
def check_model_name(name: str, upstream: UpstreamTraits = OPENAI) -> None:
    """See that `name` can be a model of the upstream that this caller may use.

    An upstream calls its models as it likes. Refused is what another program could take for
    another model than the one that is priced here, since it trims or folds it, takes it for a
    path, or does not see all of it; and, where OpenAI's names are known, a variant spelling of one.

    Raises:
        ModelNotFound: it cannot, or it is a fine-tune, which belongs to somebody else.
    """
    is_somebodys = name.casefold().startswith("ft:")
    if not _is_plain(name) or is_somebodys or _is_variant(name, upstream):
        shown = "".join(c if " " <= c <= "~" and c != "`" else "?" for c in name[:_SHOWN_NAME])
        message = f"The model `{shown}` does not exist or you do not have access to it."
        raise ModelNotFound(message, param="model")


def _is_plain(name: str) -> bool:
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and name == name.strip()
        and unicodedata.is_normalized("NFKC", name)
        and ".." not in re.split(r"[/\\]", name)
    )


def _is_variant(name: str, upstream: UpstreamTraits) -> bool:
    if not (upstream.is_openai or upstream.knows_openai_models):
        return False
    is_known = _known_prefix(name.casefold()) is not None
    return is_known and _OPENAI_NAME.fullmatch(name) is None

"""Facts about models, by the longest known prefix of their names.

From OpenAI's model pages. A name that nobody knows yet is taken for a large current model, so
that what is held for it is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import ModelNotFound
from tokenbalance.tokens.vocabularies import CL100K, O200K, vocabulary

if TYPE_CHECKING:
    import tiktoken


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
    encoding: str = O200K
    overhead: int = 0
    """What the upstream adds to every prompt of this model by itself."""
    responses_overhead: int = 0
    """What `/responses` adds to a prompt by itself (seen in 2025, model snapshots as they were)."""
    responses_tools_overhead: int = 0
    """What `/responses` adds where there are functions."""


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
_LONGEST_NAME: Final = 128
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]*")


@lru_cache(maxsize=1024)
def model_for(name: str) -> Model:
    """The facts about the model called `name`, with a fine-tune's `ft:` set aside."""
    base = name.removeprefix("ft:")
    for prefix in _LONGEST_FIRST:
        if base.startswith(prefix):
            return _BY_PREFIX[prefix]
    return _UNKNOWN


def encoding_for(model: str) -> tiktoken.Encoding:
    """The encoding of the model called `model`; that of current models for a name unknown."""
    return vocabulary(model_for(model).encoding)


def check_model_name(name: str) -> None:
    """See that `name` can be a model of the upstream that this caller may use.

    A name that another program would trim, fold or take for a path could be priced here as one
    model and answered there by another.

    Raises:
        ModelNotFound: it cannot, or it is a fine-tune, which belongs to somebody else.
    """
    is_plain = len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None
    if not is_plain or ".." in name or name.startswith("ft:"):
        shown = "".join(c if " " <= c <= "~" and c != "`" else "?" for c in name[:_LONGEST_NAME])
        message = f"The model `{shown}` does not exist or you do not have access to it."
        raise ModelNotFound(message, param="model")

"""Which facts hold for a model, by the longest known beginning of its name, and valid names.

The facts themselves are data: `models.toml`, read by `model_facts`. A name that no row covers is
taken for the largest current model, so that what is held for it is enough; at an upstream that is
not OpenAI its vocabulary is unknown too.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import ModelNotFound
from tokenbalance.model import OPENAI, ImageRule, Model
from tokenbalance.openai.tokens.model_facts import LARGEST, read_models
from tokenbalance.openai.tokens.vocabularies import O200K, vocabulary

if TYPE_CHECKING:
    import datetime as dt

    import tiktoken

    from tokenbalance.model import KnownModel, UpstreamTraits

__all__ = [
    "ImageRule",
    "Model",
    "check_model_name",
    "encoding_for",
    "encoding_of",
    "model_for",
    "retirement_of",
    "shipped_models",
    "shown_name",
    "vocabulary_of",
]

_UNKNOWN: Final = replace(LARGEST, encoding=O200K)
_FOREIGN: Final = replace(
    LARGEST, encoding=None, maximum_output=128_000, image=ImageRule(low=2_833, high=48_169)
)
"""A model that is not OpenAI's; no server of such models is known to write more by itself."""
FINE_TUNE: Final = "ft:"
"""How the name of a fine-tuned model begins."""
_LONGEST_NAME: Final = 255
_SHOWN_NAME: Final = 128
_OPENAI_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]*")
_END_OF_FAMILY: Final = frozenset("-.:@")


@cache
def shipped_models() -> tuple[KnownModel, ...]:
    """The rows of the package's own file, longest name first."""
    text = files("tokenbalance.openai.tokens").joinpath("models.toml").read_text("utf-8")
    return read_models(text, encoding=O200K)


@lru_cache(maxsize=1024)
def model_for(name: str, upstream: UpstreamTraits = OPENAI) -> Model:
    """The facts about the model called `name`; the prefix `ft:` of a fine-tune is ignored.

    The operator's rows are looked up for every upstream. The shipped rows are about OpenAI's
    models, and hold at another upstream only where OpenAI's names mean OpenAI's models.
    """
    own = _own_row(name.removeprefix(FINE_TUNE), upstream.own_models)
    if upstream.is_openai:
        row = _longer(own, _shipped_row(name.removeprefix(FINE_TUNE)))
        if row is None:
            return _UNKNOWN
        # A row of the operator's that names no encoding is about a model of OpenAI's here.
        return replace(row.model, encoding=row.model.encoding or O200K)
    family = name.removeprefix("openai/").removeprefix("azure/")  # as gateways call them
    shipped = _shipped_row(family) if upstream.knows_openai_models else None
    if shipped is not None and not _is_family(shipped.name, family):
        shipped = None
    row = _longer(own, shipped)
    if row is None:
        return _FOREIGN
    return row.model


def retirement_of(name: str, upstream: UpstreamTraits = OPENAI) -> dt.date | None:
    """The day on which a model is shut down; None if none is known."""
    family = name.removeprefix(FINE_TUNE)
    own = _own_row(family, upstream.own_models)
    # What OpenAI shuts down may run on at another upstream.
    row = _longer(own, _shipped_row(family) if upstream.is_openai else None)
    return None if row is None else row.retires


def _own_row(name: str, rows: tuple[KnownModel, ...]) -> KnownModel | None:
    return next((row for row in rows if name.startswith(row.name)), None)


def _shipped_row(name: str) -> KnownModel | None:
    by_name, lengths = _shipped_by_name()
    return next((by_name[name[:end]] for end in lengths if name[:end] in by_name), None)


@cache
def _shipped_by_name() -> tuple[dict[str, KnownModel], list[int]]:
    """The shipped rows, and the lengths of their names, longest first."""
    by_name = {row.name: row for row in shipped_models()}
    return by_name, sorted({len(name) for name in by_name}, reverse=True)


def _longer(own: KnownModel | None, shipped: KnownModel | None) -> KnownModel | None:
    """The row with the longer name; of two with the same name the operator's."""
    if own is None or shipped is None:
        return own or shipped
    return shipped if len(shipped.name) > len(own.name) else own


def _is_family(prefix: str, name: str) -> bool:
    """Whether `name` goes on as OpenAI's do: `gpt-4-turbo`, but not `gpt-4all`."""
    return prefix[-1] in _END_OF_FAMILY or name[len(prefix) :][:1] in {"", *_END_OF_FAMILY}


def encoding_for(model: str) -> tiktoken.Encoding:
    """The encoding of OpenAI's model `model`; that of current models for an unknown name."""
    return encoding_of(model_for(model))


def encoding_of(model: Model) -> tiktoken.Encoding:
    """The encoding of a model; that of OpenAI's current models where its own is not known."""
    return vocabulary(vocabulary_of(model))


def vocabulary_of(model: Model) -> str:
    """The name of what `encoding_of` returns, which need not be loaded to know it."""
    return model.encoding or O200K


@lru_cache(maxsize=1024)
def check_model_name(name: str, upstream: UpstreamTraits = OPENAI) -> None:
    """Refuse a name that cannot be a model of the upstream.

    An upstream names its models as it likes. Refused is a name that another program could read as
    a different model than the one priced here, because it trims or folds it, takes it for a path,
    or sees only a part of it; and, where OpenAI's names are known, a variant spelling of one. So is
    a variant of `ft:`, by which fine-tunes are known, whose owner is looked up.

    Raises:
        ModelNotFound: it is such a name.
    """
    is_variant = _is_variant(name, upstream) or (
        name.casefold().startswith(FINE_TUNE) and not name.startswith(FINE_TUNE)
    )
    if not _is_plain(name) or is_variant:
        message = f"The model `{shown_name(name)}` does not exist or you do not have access to it."
        raise ModelNotFound(message, param="model")


@lru_cache(maxsize=1024)
def checked_model(name: str, upstream: UpstreamTraits = OPENAI) -> Model:
    """The facts about a model whose name may be one of the upstream's.

    Raises:
        ModelNotFound: it cannot be one, as `check_model_name` says.
    """
    check_model_name(name, upstream)
    return model_for(name, upstream)


def shown_name(name: str) -> str:
    """The name of a model as it is shown in a message, whatever a client has sent."""
    return "".join(c if " " <= c <= "~" and c != "`" else "?" for c in name[:_SHOWN_NAME])


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
    is_known = _shipped_row(name.casefold()) is not None
    return is_known and _OPENAI_NAME.fullmatch(name) is None

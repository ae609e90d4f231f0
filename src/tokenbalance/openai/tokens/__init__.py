"""Tokens of texts: vocabularies, counting, and facts about models.

Nothing here does I/O once the vocabularies and the model facts are loaded.
"""

from tokenbalance.openai.tokens import vocabularies
from tokenbalance.openai.tokens.counting import count_tokens
from tokenbalance.openai.tokens.models import encoding_for, shipped_models

__all__ = ["count_tokens", "encoding_for", "load"]


def load() -> None:
    """Read everything that is package data, so that no request has to wait for it.

    Raises:
        CorruptVocabularyError: a vocabulary does not have its checksum.
    """
    vocabularies.load()
    _ = shipped_models()

"""Tokens of texts: vocabularies, counting, and facts about models.

Nothing here does I/O once the vocabularies and the model facts are loaded.
"""

from tokenbalance.openai.tokens.counting import count_tokens
from tokenbalance.openai.tokens.models import encoding_for
from tokenbalance.openai.tokens.vocabularies import load

__all__ = ["count_tokens", "encoding_for", "load"]

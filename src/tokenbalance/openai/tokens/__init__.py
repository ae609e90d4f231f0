"""Tokens of texts: vocabularies, counting, and facts about models.

The I/O here is reading package data: the model facts, and each vocabulary when it is first needed.
"""

from tokenbalance.openai.tokens.counting import count_tokens
from tokenbalance.openai.tokens.models import encoding_for, shipped_models
from tokenbalance.openai.tokens.vocabularies import load, loading, prepare

__all__ = ["count_tokens", "encoding_for", "load", "loading", "prepare", "shipped_models"]

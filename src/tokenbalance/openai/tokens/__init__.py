"""How many tokens a request costs: vocabularies, facts about models, and OpenAI's rules.

Rules of the API live here, one file for each kind of request or part of one; `stages.estimate`
asks them. Nothing here does I/O once the vocabularies are loaded.
"""

from tokenbalance.openai.tokens.counting import count_tokens
from tokenbalance.openai.tokens.models import encoding_for
from tokenbalance.openai.tokens.vocabularies import load

__all__ = ["count_tokens", "encoding_for", "load"]

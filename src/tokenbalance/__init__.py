"""tokenbalance: OpenAI access handed out by prepaid balance.

Hold first, spend after, account for every token exactly once.
"""

__version__ = "0.1.0"

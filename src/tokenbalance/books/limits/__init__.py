"""Limits as they are counted: what each has left, which one refuses, and when that ends.

    windows     when a period begins and ends, in the time zone of the account
    states      the counts at one moment, after entering windows that have begun
    refusals    which limit refuses a claim, and the moment at which it will fit

What is taken is taken by the statements that place and end holds (`ledger`); nothing here takes.
"""

from tokenbalance.books.limits.refusals import Refusal, refusal_of
from tokenbalance.books.limits.states import Limits

__all__ = ["Limits", "Refusal", "refusal_of"]

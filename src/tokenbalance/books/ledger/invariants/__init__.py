"""The invariants of the books as SQL: does one fail, and which rows break it?

Three statements read everything once: one goes through the ledger account by account, one through
the requests, joining each hold with its outcome, and one through the accounts with grants. They
only find which invariants fail. Each invariant has a second statement that names what breaks it,
one line each, with ids; it rarely runs, so it may be slow. Constraints are not trusted: a restored
backup may have lost them.

This is SQL text only; `audit.py` runs it.
"""

from tokenbalance.books.ledger.invariants.accounts import LEDGER
from tokenbalance.books.ledger.invariants.grants import GRANTS
from tokenbalance.books.ledger.invariants.proof import Invariant, Proof
from tokenbalance.books.ledger.invariants.requests import REQUESTS_AND_THEIR_ENDS

__all__ = ["GRANTS", "LEDGER", "REQUESTS_AND_THEIR_ENDS", "Invariant", "Proof"]

"""Money: holds, the ledger, what usage costs, and the proof that the books are right."""

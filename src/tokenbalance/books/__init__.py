"""Money: prices, the ledger, holds, and reports of them. It must never know HTTP."""

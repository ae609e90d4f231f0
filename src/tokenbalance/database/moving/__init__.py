"""Moving the books between versions 1 and 2; used by the migration 0012 and by nothing else.

    version 1    holds, usage, ledger_entries: three rows for a request, changed at each step
    version 2    open_holds, and one row of `ledger` for each request that ended

    upgrade      the move up, while the release before it goes on serving from the old tables
    tail         what ends or changes meanwhile
    contract     the switch, in one short transaction
    downgrade    the move down, in one transaction that locks the books
    new_tables, old_tables, copies      SQL text only

The SQL names every table and column itself: it must go on working when the product's tables change.
"""

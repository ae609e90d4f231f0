"""TELLING: what happened that somebody waits for, written once and delivered until it arrives.

    events        what is told, by name
    errors        what is refused
    thresholds    balances below which an account is told so
    webhooks      the addresses that alerts are sent to
    signing       the signature of what is sent
    letters       the same as an e-mail
    outbox        alerts on their way: addressed, taken, done or given up
    sender        delivers what is due, until it is cancelled
    written       what was told, page by page
    upcoming      what is about to end: keys and models
    traces        who changed what
    repeating     work that no error ends
    service       all of it, for one process
    operator      faults that only the operator can mend

Alerts about money are written by triggers, in the transaction that changes a balance or a limit.
Knows what to tell and to whom; must never change an amount.
"""

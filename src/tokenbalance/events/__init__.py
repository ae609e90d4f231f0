"""TRACES: who did what. A row for what privileged people change, and lines of the security log.

    names       the events, by name
    security    one line of the log for each; a flood of refusals is summed up
    commits     lines that are written when, and only when, a transaction is committed
    recording   an event, in the transaction of the change that it is about
    reading     the recorded events, as pages and as a file

Knows who acted and on what; never HTTP, and never what a change means. No secret reaches either:
no password, no key, no text that a stranger typed.
"""

from tokenbalance.events.commits import say_after_commit
from tokenbalance.events.names import RECORDED, Change, EventName
from tokenbalance.events.recording import Subject, changed, record
from tokenbalance.events.security import Line, Outcome, refusals, say, say_refusal

__all__ = [
    "RECORDED",
    "Change",
    "EventName",
    "Line",
    "Outcome",
    "Subject",
    "changed",
    "record",
    "refusals",
    "say",
    "say_after_commit",
    "say_refusal",
]

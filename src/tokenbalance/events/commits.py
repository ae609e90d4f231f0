"""Lines about a change, written once it is committed: never before, never after a rollback.

A line belongs to the innermost transaction in which it was said, as its row does: a savepoint that
is rolled back takes its lines with it, one that is released hands them to the outer transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, cast

from sqlalchemy import event

from tokenbalance.events.security import Line, say

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session, SessionTransaction

_Waiting: TypeAlias = "list[tuple[SessionTransaction | None, Line]]"
_WAITING: Final = "tokenbalance.events.lines"


def say_after_commit(session: AsyncSession, line: Line) -> None:
    """Write a line when the transaction of the session is committed, if it is."""
    within = session.sync_session
    if _WAITING not in within.info:
        within.info[_WAITING] = []
        event.listen(within, "after_commit", _committed)
        event.listen(within, "after_soft_rollback", _rolled_back)
    _lines_of(within).append((_innermost(within), line))


def _committed(session: Session) -> None:
    lines = _lines_of(session)
    savepoint = session.get_nested_transaction()
    if savepoint is not None:
        session.info[_WAITING] = [
            (savepoint.parent if said_in is savepoint else said_in, line) for said_in, line in lines
        ]
        return
    session.info[_WAITING] = []
    for _, line in lines:
        say(line)


def _rolled_back(session: Session, ended: SessionTransaction) -> None:
    session.info[_WAITING] = [
        (said_in, line) for said_in, line in _lines_of(session) if not _is_within(said_in, ended)
    ]


def _is_within(transaction: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is outer:
            return True
        transaction = transaction.parent
    return False


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _lines_of(session: Session) -> _Waiting:
    return cast("_Waiting", session.info[_WAITING])

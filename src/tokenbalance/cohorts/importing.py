"""Imports users: a plan, or all of it in the caller's transaction.

read        the table                    mistakes by line and field
know        who is a user already
plan        who is new, who is there     more mistakes
note        the idempotency key          an import is carried out once
enroll      users, accounts, limits, tags, keys or links
enter       credits and allowances, in the order of accounts
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenbalance.books.grants.allowances import NewAllowance
from tokenbalance.books.grants.allowances import create as create_allowance
from tokenbalance.books.ledger.credits import Cause, CreditError, add, check_idempotency_key, grant
from tokenbalance.offload import offload
from tokenbalance.people.imports.enrolling import enroll, find_known, note_import
from tokenbalance.people.imports.mistakes import ImportRefused, Mistake
from tokenbalance.people.imports.planning import Existing, Plan, make_plan, read_people
from tokenbalance.people.imports.results import Gives, Result
from tokenbalance.people.limits import NO_LIMITS
from tokenbalance.people.tags import tag_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.database.connections import Session
    from tokenbalance.model import Actor
    from tokenbalance.people.imports.cells import Person
    from tokenbalance.people.imports.enrolling import Enrolled
    from tokenbalance.people.imports.planning import Known
    from tokenbalance.people.limits import KeyLimits

_OPENING_NOTE: Final = "opening balance"
_NOTE: Final = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is imported, and how."""

    table: bytes | str = field(repr=False)
    gives: Gives = Gives.KEYS
    existing: Existing = Existing.REFUSE
    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    """Cells, by column, for lines where they are empty."""
    key_limits: KeyLimits = NO_LIMITS
    """Of the new keys."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was done."""

    plan: Plan
    results: Sequence[Result] = field(repr=False)
    """In the order of lines, without those that were skipped."""


async def plan_import(session: Session, wanted: Wanted) -> Plan:
    """Tell what an import would do, and every mistake; changes nothing.

    Raises:
        ImportRefused: the table cannot be read.

    """
    read = await offload(read_people, wanted.table, wanted.defaults)
    known = await find_known(session, [person.email for person in read.people])
    return make_plan(read, known, wanted.existing)


async def import_users(
    session: Session, wanted: Wanted, actor: Actor, idempotency_key: str | None = None
) -> Imported:
    """Create all users of a table, or none.

    Args:
        session: the caller's transaction.
        wanted: what is imported.
        actor: who imports, to be recorded.
        idempotency_key: chosen by the client; None: the import may be carried out again.

    Raises:
        ImportRefused: the table has mistakes.
        ImportRepeated: an import with this key was carried out before.
        InvalidIdempotencyKey: it is not 1 to 255 printable ASCII characters.
        EmailTaken: one of them became a user meanwhile.

    """
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
        await note_import(session, idempotency_key, actor)
    plan = await plan_import(session, wanted)
    plan.require_no_mistake()
    enrolled = await enroll(session, plan.new, wanted.gives, actor, wanted.key_limits)
    # Users before accounts, each in the order of ids, as everywhere.
    for person, known in sorted(plan.added, key=lambda one: one[1].user_id):
        if person.tags:
            _ = await tag_user(session, known.user_id, add=person.tags, actor=actor)
    await _enter(session, plan.added, enrolled, actor)
    results = [
        *(_result(one.person, one.user_id, one.secret) for one in enrolled),
        *(_result(person, known.user_id, None) for person, known in plan.added),
    ]
    return Imported(plan, sorted(results, key=lambda result: result.line))


async def _enter(
    session: Session,
    added: Sequence[tuple[Person, Known]],
    enrolled: Sequence[Enrolled],
    actor: Actor,
) -> None:
    """Enter credits and allowances; accounts are locked in the order of their ids."""
    opening, import_of = Cause(actor, _OPENING_NOTE), Cause(actor, _NOTE)
    accounts = [(one.account_id, one.person, True) for one in enrolled]
    accounts += [(known.account_id, person, False) for person, known in added]
    for account_id, person, is_new in sorted(accounts, key=lambda account: account[0]):
        try:
            if person.credits and is_new:
                _ = await grant(session, account_id, person.credits, opening)
            elif person.credits:
                _ = await add(session, account_id, person.credits, import_of)
            if person.allowance and is_new:
                new = NewAllowance(amount=person.allowance.amount, every=person.allowance.every)
                _ = await create_allowance(session, account_id, new, import_of)
        except CreditError as error:
            raise ImportRefused([Mistake(person.line, "credits", str(error))]) from None


def _result(person: Person, user_id: int, secret: str | None) -> Result:
    return Result(person.line, person.email, person.name, user_id, secret)

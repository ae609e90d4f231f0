"""From lines to a plan: who is new, who is a user already, and every mistake. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from tokenbalance.model.values import value
from tokenbalance.people.imports.cells import COLUMNS, Person, read_person
from tokenbalance.people.imports.mistakes import ImportRefused, Mistake
from tokenbalance.people.imports.reading import Line, column_name, read_lines
from tokenbalance.people.tag_names import TAGS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Existing(StrEnum):
    """What becomes of a line whose e-mail a user has already."""

    REFUSE = "refuse"
    """It is a mistake."""
    SKIP = "skip"
    """Nothing."""
    ADD = "add"
    """The user gets its credits and tags, and stays as they are otherwise."""


@value
class Known:
    """A user who has the e-mail of a line."""

    user_id: int
    account_id: int
    tags: tuple[str, ...]


@value
class People:
    """The people of a table, before it is known who of them is a user."""

    people: tuple[Person, ...]
    mistakes: tuple[Mistake, ...]


@value
class Plan:
    """What an import does, or why it does nothing."""

    new: tuple[Person, ...]
    added: tuple[tuple[Person, Known], ...]
    """Users who get credits and tags."""
    skipped: tuple[Person, ...]
    mistakes: tuple[Mistake, ...]
    """In the order of lines; if there are any, nothing is done."""

    @property
    def credits(self) -> int:
        """What is given at once, to all together."""
        everybody = (*self.new, *(person for person, _ in self.added))
        return sum(person.credits for person in everybody)

    def require_no_mistake(self) -> None:
        """Refuse a plan that cannot be carried out.

        Raises:
            ImportRefused: it has mistakes.

        """
        if self.mistakes:
            raise ImportRefused(self.mistakes)


def read_people(table: bytes | str, defaults: Mapping[str, str]) -> People:
    """Read a table.

    Args:
        table: CSV or pasted text, as `reading` says.
        defaults: cells, by column, for lines where they are empty.

    Raises:
        ImportRefused: it cannot be read, or a default is for no column.

    """
    filled = {column_name(name): cell.strip() for name, cell in defaults.items()}
    for name in filled:
        if name not in COLUMNS or name == "email":
            raise ImportRefused([Mistake(1, name, "no value can be set for this column")])
    filled = {name: cell for name, cell in filled.items() if cell}
    people: list[Person] = []
    mistakes: list[Mistake] = []
    seen: dict[str, int] = {}
    for line in read_lines(table, COLUMNS):
        person, wrong = read_person(Line(line.number, {**filled, **line.cells}))
        mistakes += wrong
        if person is None:
            continue
        before = seen.setdefault(person.email.lower(), line.number)
        if before != line.number:
            mistakes.append(Mistake(line.number, "email", f"is on line {before} already"))
        people.append(person)
    return People(tuple(people), tuple(mistakes))


def make_plan(read: People, known: Mapping[str, Known], existing: Existing) -> Plan:
    """Decide what becomes of each person.

    Args:
        read: what the table says.
        known: users by the e-mails of those people.
        existing: what becomes of those who are users already.

    """
    there = [(person, known[person.email]) for person in read.people if person.email in known]
    mistakes = [*read.mistakes, *_mistakes_about(there, existing)]
    return Plan(
        new=tuple(person for person in read.people if person.email not in known),
        added=tuple(there) if existing is Existing.ADD else (),
        skipped=tuple(person for person, _ in there) if existing is Existing.SKIP else (),
        mistakes=tuple(sorted(mistakes, key=lambda mistake: mistake.line)),
    )


def _mistakes_about(there: Sequence[tuple[Person, Known]], existing: Existing) -> list[Mistake]:
    if existing is Existing.REFUSE:
        reason = "a user with this e-mail already exists"
        return [Mistake(person.line, "email", reason) for person, _ in there]
    if existing is Existing.SKIP:
        return []
    reason = f"the user would have more than {TAGS_MAX} tags"
    return [
        Mistake(person.line, "tag", reason)
        for person, user in there
        if len({*person.tags, *user.tags}) > TAGS_MAX
    ]

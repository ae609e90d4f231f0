"""An invariant, and a proof of several, as SQL text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant: the SQL that finds it broken."""

    fails: str
    """A condition over all rows of the proof's statement; true if the invariant is broken."""
    names: str
    """The statement that names what is broken, one line of text each."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Several invariants that one statement checks, reading everything once."""

    looks: str
    """Common table expressions that the conditions use besides the rows; may be empty."""
    counts: tuple[str, ...]
    """What the statement counts as well."""
    rows: str
    """The FROM clause: one row for each thing that is checked."""
    invariants: tuple[Invariant, ...]

    @property
    def statement(self) -> str:
        """The SQL that returns the counts, then for each invariant whether it is broken."""
        columns = (*self.counts, *(invariant.fails for invariant in self.invariants))
        return f"{self.looks} SELECT {', '.join(columns)} {self.rows}"

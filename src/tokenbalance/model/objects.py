"""Objects that the upstream stores and names by an id: files, responses, conversations...

    found    what a response names; it becomes its caller's
    owned    what an account has, as the table of objects knows it

Data only. Kinds are named as in OpenAI's API reference, in the singular: `file`, `vector_store`.
"""

from __future__ import annotations

from tokenbalance.model.values import value


@value
class Found:
    """An object that a response names."""

    kind: str
    id: str
    parent: str | None = None
    """The id of the object that it is part of; it is deleted with that one."""
    state: str | None = None
    """The upstream's `status`."""
    size: int | None = None
    """Bytes that are stored for it."""
    tokens: int | None = None
    """The most that a request which continues it reads again."""
    expires_at: int | None = None
    """In seconds since 1970; None: not known, or never."""
    snapshot: str | None = None
    """The object as the upstream described it last, as JSON; None for kinds without a list."""


@value
class Owned:
    """An object of an account."""

    kind: str
    id: str
    parent: str | None
    state: str | None
    tokens: int | None
    """As that of `Found`."""
    size: int | None
    """As that of `Found`."""
    model: str | None = None
    """The name of the model that made it, as the upstream has it; None: not known."""

"""A subject: something that requests can be sent to, and what it costs.

How each is started is in a file of its own: `product.py`, `proxies.py`, `gateways.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.speed.accounting import Tree
    from benchmarks.speed.accounts import OwnVerdict, Proof


class Unavailable(Exception):
    """It cannot take part here; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a subject gets when it is started."""

    folder: Path
    """Of this subject alone, for this run."""
    cache: Path
    """Of all runs: what was installed."""
    upstream_port: int
    python: str
    """The interpreter for which the product is installed; gateways get its kind."""
    base: str | None = None
    """The interpreter for which the build to compare with is installed, if there is one."""
    rate_card: Path | None = None
    """What the product charges by; None: a token is a credit."""

    @property
    def upstream_url(self) -> str:
        """The upstream's address."""
        return f"http://127.0.0.1:{self.upstream_port}/v1"


@dataclass(frozen=True, slots=True)
class Subject:
    """One that runs."""

    name: str
    port: int
    tree: Tree | None
    """Its processes; None for the upstream itself, which is no subject's work."""
    key_files: Mapping[str, Path]
    postgres: Tree | None = None
    proof: Proof | OwnVerdict | None = None
    headers: tuple[str, ...] = field(default=())
    root: str = ""
    """What stands before the path of a request."""
    model_prefix: str = ""
    """What stands before the name of a model in a request."""

    def keys(self, name: str) -> Path:
        """Return the keys to use; one for all if the subject has no accounts."""
        return self.key_files.get(name) or self.key_files["users"]

"""The kinds of stored objects in words, as pages name them."""

from __future__ import annotations

from typing import Final

from tokenbalance.owners.stored import KINDS

KIND_NAMES: Final = {kind: kind.replace("_", " ").capitalize() for kind in KINDS}

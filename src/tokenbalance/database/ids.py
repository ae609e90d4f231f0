"""The range of ids: what a `bigint` column of Postgres holds."""

from __future__ import annotations

from typing import Final

ID_MAX: Final = 2**63 - 1

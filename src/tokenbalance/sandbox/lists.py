"""Lists of objects, a page at a time, as OpenAI pages them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.sandbox.faults import ApiError
from tokenbalance.sandbox.fields import invalid_value
from tokenbalance.sandbox.replies import Whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Json

PAGE = 20
PAGE_MAX = 100

_ORDERS = ("asc", "desc")


def page_of(
    documents: Sequence[Document],
    query: Mapping[str, str],
    *,
    page: int = PAGE,
    page_max: int = PAGE_MAX,
    order: str = "desc",
) -> Whole:
    """Return a page.

    Args:
        documents: all of them, the oldest first.
        query: `after`, `before`, `limit` and `order` of the request.
        page: how many without a limit.
        page_max: the largest limit.
        order: the one without `order`.

    Raises:
        ApiError: a parameter is wrong.

    """
    wanted = query.get("order", order)
    if wanted not in _ORDERS:
        raise invalid_value("order", wanted, _ORDERS)
    rows = list(documents) if wanted == "asc" else list(reversed(documents))
    rows = _between(rows, query)
    limit = _limit(query, page, page_max)
    shown: list[Json] = [*rows[:limit]]
    return Whole(
        {
            "object": "list",
            "data": shown,
            "first_id": rows[0]["id"] if rows else None,
            "last_id": rows[:limit][-1]["id"] if rows else None,
            "has_more": len(rows) > limit,
        }
    )


def _between(rows: list[Document], query: Mapping[str, str]) -> list[Document]:
    """Cut off what `after` and `before` exclude; an id that is not in the list excludes nothing."""
    names = [row["id"] for row in rows]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    end = names.index(query["before"]) if query.get("before") in names else len(rows)
    return rows[start:end]


def _limit(query: Mapping[str, str], page: int, page_max: int) -> int:
    text = query.get("limit")
    if text is None:
        return page
    # The SDKs' own tests ask for 0, which is the smallest page.
    if not text.isdigit() or int(text) > page_max:
        raise ApiError(
            f"Invalid 'limit': integer out of range. Expected a value between 1 and {page_max}, "
            f"but got '{text[:20]}' instead.",
            param="limit",
            code="invalid_value",
        )
    return max(int(text), 1)

"""Whatever JSON a body is, a management route answers it, and never with a fault of its own."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.slow_client import a_trickle, status_for
from tests.web.api.test_roles import TABLE, Row
from tokenbalance.web.api import bodies

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.sampled_from(
        ["\x00", "a\x00@example.com", "2030-01-31", "0001-01-01T00:00:00+14:00", "/v1"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
    max_leaves=5,
)
FIELDS = [
    *("email", "password", "name", "is_active", "is_superuser", "balance", "amount", "note"),
    *("expires_at", "user_id", "requests_per_minute", "models", "path", "body"),
]

HEAD = (
    "POST /api/user/auth HTTP/1.1\r\nhost: {host}\r\n"
    "content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
)


def with_body() -> list[Row]:
    return [row for row in TABLE if row.body is not None and row.route != "POST /api/user/auth"]


@pytest.mark.parametrize("row", with_body(), ids=lambda row: row.route)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_no_json_is_a_fault(
    http: httpx2.AsyncClient, people: People, row: Row, data: st.DataObject
) -> None:
    known = {name: st.just(value) | VALUES for name, value in (row.body or {}).items()}
    strange = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2)
    body: Any = data.draw(
        st.fixed_dictionaries(known).flatmap(lambda own: strange.map(lambda add: {**own, **add}))
        | VALUES
    )
    response = await http.request(
        row.method,
        row.path(
            defaultdict(
                lambda: "1",
                user_id=str(people.user.user_id),
                account_id=str(people.user.account_id),
                key_id=str(people.user.key_id),
            )
        ),
        content=orjson.dumps(body),
        headers={**people.superuser.headers, **row.headers, "content-type": "application/json"},
    )
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_body_that_trickles_in_is_not_waited_for(
    product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.2)
    assert await status_for(product, HEAD, a_trickle()) == b"HTTP/1.1 408"

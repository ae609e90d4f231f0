"""Who may do what, for every management route: nobody, users, a disabled one, a superuser."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson
import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Route

from tests.support.books import placed
from tests.support.chat import CHAT
from tests.support.owned_teams import of_team
from tests.support.product import product_app
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

Who: TypeAlias = Literal["nobody", "disabled", "other", "user", "superuser"]
WHO: tuple[Who, ...] = ("nobody", "disabled", "other", "user", "superuser")


@dataclass(frozen=True, slots=True)
class Row:
    """One route as it is asked, about what belongs to the user, and each one's answer."""

    route: str
    """Method and path, as the application has it."""
    responses: tuple[int, int, int, int, int]
    """Statuses, in the order of `WHO`."""
    query: str = ""
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    once: bool = False
    """What it is about is not there a second time."""
    instead: dict[str, str] = field(default_factory=dict)
    """Which other ids are meant, by their names in the path."""

    @property
    def method(self) -> str:
        """The method."""
        return self.route.partition(" ")[0]

    def path(self, ids: Mapping[str, str]) -> str:
        """The path, with the ids of what the user has."""
        path = self.route.partition(" ")[2]
        for name, other in self.instead.items():
            path = path.replace(f"{{{name}}}", f"{{{other}}}")
        return path.format_map(ids)

    def content(self, ids: Mapping[str, str], spelling: str) -> bytes:
        """The body, with the ids, and what differs from one request to the next."""
        content = orjson.dumps(self.body).replace(b"{spelling}", spelling.encode())
        content = content.replace(b"{secret}", ids["secret"].encode())
        for name, number in ids.items():
            content = content.replace(f'"{{{name}}}"'.encode(), number.encode())
        return content


ALL = (200, 200, 200, 200, 200)
ALL_WRONG = (400, 400, 400, 400, 400)
SIGNED_IN = (401, 401, 200, 200, 200)
SUPERUSERS = (401, 401, 403, 403, 200)
CREATED_BY_SUPERUSERS = (401, 401, 403, 403, 201)
SIGN_INS = (401, 401, 403, 403, 403)
OF_THE_USER = (401, 401, 403, 200, 200)
"""Somebody else's is forbidden where it is named by its user's id."""
THE_USERS = (401, 401, 404, 200, 200)
"""Somebody else's is not found where it is named by its own id."""

TABLE = [
    # No password: 400 says that anybody may try.
    Row("POST /api/user/auth", ALL_WRONG, body={"email": "a@b.c"}),
    Row(
        "POST /api/user/create",
        CREATED_BY_SUPERUSERS,
        body={"email": "new{spelling}@example.com", "password": "a password", "name": "New"},
    ),
    Row("GET /api/user/me", SIGNED_IN),
    Row("PATCH /api/user/me", SIGNED_IN, body={"name": "Me"}),
    Row("GET /api/users", SUPERUSERS),
    Row("PATCH /api/users/{user_id}", SUPERUSERS, body={"name": "Them"}),
    Row("PATCH /api/users/{user_id}", SIGN_INS, body={"is_superuser": True}),
    Row("POST /api/users/import", SUPERUSERS, body={"csv": "a@b.c", "dry_run": True}),
    Row("GET /api/tags", SUPERUSERS),
    Row(
        "POST /api/tags/{tag}/credits",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30},
        headers={"Idempotency-Key": "k"},
    ),
    Row("POST /api/tags/{tag}/disable", SUPERUSERS),
    Row("POST /api/tags/{tag}/enable", SUPERUSERS),
    Row("GET /api/balance", SIGNED_IN),
    Row("GET /api/balance/{user_id}", SUPERUSERS),
    Row("PUT /api/balance/{user_id}", SUPERUSERS, body={"balance": 30}),
    Row("PATCH /api/balance/{user_id}", SUPERUSERS, body={"balance": 30}),
    Row(
        "POST /api/balance/{user_id}/credits",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30},
        headers={"Idempotency-Key": "k"},
    ),
    Row("GET /api/balance/{user_id}/grants", SUPERUSERS),
    Row(
        "POST /api/balance/{user_id}/grants",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30},
        headers={"Idempotency-Key": "g"},
    ),
    Row("GET /api/balance/{user_id}/allowances", SUPERUSERS),
    Row(
        "POST /api/balance/{user_id}/allowances",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30, "every": "day"},
    ),
    Row(
        "PATCH /api/balance/{user_id}/allowances/{allowance_id}",
        SUPERUSERS,
        body={"amount": 30},
    ),
    Row("DELETE /api/balance/{user_id}/allowances/{allowance_id}", SUPERUSERS, once=True),
    Row("GET /api/accounts/{account_id}/balance", THE_USERS),
    Row("PUT /api/accounts/{account_id}/balance", SUPERUSERS, body={"balance": 30}),
    Row("PATCH /api/accounts/{account_id}/balance", SUPERUSERS, body={"balance": 30}),
    Row(
        "POST /api/accounts/{account_id}/credits",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30},
        headers={"Idempotency-Key": "k"},
    ),
    Row("GET /api/accounts/{account_id}/grants", SUPERUSERS),
    Row(
        "POST /api/accounts/{account_id}/grants",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30},
        headers={"Idempotency-Key": "g"},
    ),
    Row("GET /api/accounts/{account_id}/allowances", SUPERUSERS),
    Row(
        "POST /api/accounts/{account_id}/allowances",
        CREATED_BY_SUPERUSERS,
        body={"amount": 30, "every": "day"},
    ),
    Row(
        "PATCH /api/accounts/{account_id}/allowances/{allowance_id}",
        SUPERUSERS,
        body={"amount": 30},
    ),
    Row("DELETE /api/accounts/{account_id}/allowances/{allowance_id}", SUPERUSERS, once=True),
    Row(
        "POST /api/accounts/{account_id}/transfers",
        (401, 401, 404, 201, 201),
        body={"to_account_id": "{own_team_id}", "amount": 3},
        headers={"Idempotency-Key": "t"},
    ),
    Row("GET /api/limits", SIGNED_IN),
    Row("GET /api/limits", THE_USERS, query="key_id={key_id}"),
    Row("GET /api/accounts/{account_id}/limits", THE_USERS),
    Row("PATCH /api/accounts/{account_id}/limits", SUPERUSERS, body={"requests_per_minute": 1000}),
    Row("GET /api/accounts/{account_id}/budgets", THE_USERS),
    Row(
        "POST /api/accounts/{account_id}/budgets",
        (401, 401, 404, 403, 201),
        body={"amount": 30, "every": "day", "name": "another"},
        once=True,
    ),
    Row(
        "PATCH /api/accounts/{account_id}/budgets/{budget_id}",
        (401, 401, 404, 403, 200),
        body={"amount": 40},
    ),
    Row(
        "DELETE /api/accounts/{account_id}/budgets/{budget_id}",
        (401, 401, 404, 403, 200),
        once=True,
    ),
    Row("POST /api/teams", (401, 401, 201, 201, 201), body={"name": "Mine"}),
    Row("GET /api/teams", SIGNED_IN),
    Row("GET /api/teams", SUPERUSERS, query="all=true"),
    Row("GET /api/teams/{team_id}", THE_USERS),
    Row("PATCH /api/teams/{team_id}", THE_USERS, body={"name": "Ours"}),
    # By the user and the superuser, each once.
    Row("DELETE /api/teams/{team_id}", (401, 401, 404, 200, 400), once=True),
    Row("GET /api/teams/{team_id}/members", THE_USERS),
    Row(
        "POST /api/teams/{team_id}/members",
        (401, 401, 404, 201, 201),
        body={"email": "guest{spelling}@example.com"},
    ),
    Row(
        "PATCH /api/teams/{team_id}/members/{user_id}",
        THE_USERS,
        body={"credits_per_day": 5},
        instead={"user_id": "member_id"},
    ),
    Row(
        "DELETE /api/teams/{team_id}/members/{user_id}",
        (401, 401, 404, 200, 404),
        once=True,
        instead={"user_id": "member_id"},
    ),
    Row("GET /api/teams/{team_id}/invitations", THE_USERS),
    Row("POST /api/teams/{team_id}/invitations", (401, 401, 404, 201, 201), body={}),
    Row(
        "DELETE /api/teams/{team_id}/invitations/{invitation_id}",
        (401, 401, 404, 200, 404),
        once=True,
    ),
    # The other one, who comes first, uses it up.
    Row(
        "POST /api/invitations/accept",
        (401, 401, 200, 404, 404),
        body={"secret": "{secret}"},
        once=True,
    ),
    Row("GET /api/teams/{team_id}/projects", THE_USERS),
    Row(
        "POST /api/teams/{team_id}/projects",
        (401, 401, 404, 201, 201),
        body={"name": "New{spelling}"},
    ),
    Row("PATCH /api/teams/{team_id}/projects/{project_id}", THE_USERS, body={"name": "Course"}),
    Row("GET /api/teams/{team_id}/keys", THE_USERS),
    Row("POST /api/teams/{team_id}/keys", (401, 401, 404, 201, 201), body={"service": True}),
    Row("GET /api/keys", THE_USERS, query="team_id={team_id}"),
    Row(
        "PATCH /api/keys/{key_id}",
        THE_USERS,
        body={"credits_per_day": 5},
        instead={"key_id": "team_key_id"},
    ),
    Row("GET /api/limits", THE_USERS, query="key_id={team_key_id}"),
    Row("GET /api/accounts/{account_id}/budgets", THE_USERS, instead={"account_id": "team_id"}),
    Row(
        "POST /api/accounts/{account_id}/budgets",
        (401, 401, 404, 201, 201),
        body={"amount": 30, "every": "day", "name": "new{spelling}"},
        once=True,
        instead={"account_id": "team_id"},
    ),
    Row("GET /api/alerts", SIGNED_IN),
    Row("GET /api/alerts", OF_THE_USER, query="user_id={user_id}"),
    Row("GET /api/alerts/thresholds", SIGNED_IN),
    Row("PUT /api/alerts/thresholds", OF_THE_USER, query="user_id={user_id}", body={"below": [1]}),
    Row("GET /api/webhooks", SIGNED_IN),
    Row("POST /api/webhooks", (401, 401, 201, 201, 201), body={"url": "https://example.com/"}),
    Row("POST /api/webhooks/{webhook_id}/test", (401, 401, 404, 202, 202)),
    Row("DELETE /api/webhooks/{webhook_id}", THE_USERS),
    Row("GET /api/keys", SIGNED_IN),
    Row("GET /api/keys", OF_THE_USER, query="user_id={user_id}"),
    Row("POST /api/keys", (401, 401, 201, 201, 201), body={"name": "mine"}),
    # It would end the very key: 400 says who may.
    Row("POST /api/keys/all/revoke", (401, 401, 400, 400, 400), body={"tokens": "all"}),
    Row("PATCH /api/keys/{key_id}", THE_USERS, body={"name": "theirs"}),
    Row("POST /api/keys/{key_id}/rotate", THE_USERS),
    Row("DELETE /api/keys/{key_id}", THE_USERS),
    # With a key, which all of them have.
    Row("GET /api/tokens", SIGN_INS),
    Row("GET /api/tokens", SIGN_INS, query="user_id={user_id}"),
    Row("DELETE /api/tokens/{token_id}", SIGN_INS),
    Row("GET /api/ledger", SIGNED_IN),
    Row("GET /api/ledger", OF_THE_USER, query="user_id={user_id}"),
    Row("GET /api/usage", SIGNED_IN),
    Row("GET /api/usage", OF_THE_USER, query="user_id={user_id}"),
    Row("GET /api/usage", SUPERUSERS, query="group_by=user"),
    Row("GET /api/requests", SIGNED_IN),
    Row("GET /api/requests", OF_THE_USER, query="user_id={user_id}"),
    Row("GET /api/requests/{request_id}", THE_USERS),
    Row("GET /api/objects", SIGNED_IN),
    Row("GET /api/objects", OF_THE_USER, query="user_id={user_id}"),
    Row("GET /api/refusals", SIGNED_IN),
    Row("GET /api/refusals", OF_THE_USER, query="user_id={user_id}"),
    Row("POST /api/quote", SIGNED_IN, body={"path": "/v1/chat/completions", "body": CHAT}),
    Row("GET /api/rates", SIGNED_IN),
    Row("GET /api/events", SUPERUSERS),
    Row("GET /api/docs", ALL),
    Row("GET /api/schema", ALL),
]


def routes_below_api() -> set[str]:
    """Every method and path that the application serves there itself."""
    app = product_app("postgresql://nowhere", None)
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    return {
        f"{method} {route.path.removesuffix('/')}"
        for route in routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }


def test_every_route_is_in_the_table() -> None:
    assert {row.route for row in TABLE} == routes_below_api()


async def belongings(pool: Pool, people: People) -> dict[str, str]:
    """Give the user a second key and a request; returns the ids of what the user has."""
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256)"
        " VALUES ($1, 'tb-spare', sha256(gen_random_uuid()::text::bytea)) RETURNING id",
        people.user.account_id,
    )
    tag = f"tag-{people.user.user_id}"
    await pool.execute("UPDATE users SET tags = $1 WHERE id = $2", [tag], people.user.user_id)
    allowance_id = await pool.fetchval(
        "INSERT INTO allowances (account_id, amount, every, next_at, created_by)"
        " VALUES ($1, 5, 'day', now() + interval '1 day', 'tests') RETURNING id",
        people.user.account_id,
    )
    budget_id = await pool.fetchval(
        "INSERT INTO limits"
        " (account_id, subject, name, unit, period, amount, window_end, is_bound)"
        " VALUES ($1, 'account', 'budget:b' || $2::text, 'credits', 'day', 1000, 'epoch', true)"
        " RETURNING id",
        people.user.account_id,
        str(key_id),
    )
    webhook_id = await pool.fetchval(
        "INSERT INTO webhooks (account_id, url, secret) VALUES ($1, 'https://example.com/', 'x')"
        " RETURNING id",
        people.user.account_id,
    )
    own_team_id = await pool.fetchval(
        "WITH team AS (INSERT INTO accounts (kind, name) VALUES ('team', 'Own') RETURNING id)"
        " INSERT INTO memberships (account_id, user_id, role) SELECT id, $1, 'viewer' FROM team"
        " RETURNING account_id",
        people.user.user_id,
    )
    request_id = f"tb_request_of_{people.user.user_id}"
    await placed(Book(pool, 60), people.user, request_id, 10)
    return {
        "account_id": str(people.user.account_id),
        "budget_id": str(budget_id),
        "own_team_id": str(own_team_id),
        "user_id": str(people.user.user_id),
        "key_id": str(key_id),
        "token_id": str(key_id),
        "allowance_id": str(allowance_id),
        "webhook_id": str(webhook_id),
        "request_id": request_id,
        "tag": tag,
        **await of_team(pool, people.user),
    }


def headers_of(people: People, who: Who) -> dict[str, str]:
    if who == "nobody":
        return {}
    holder: Holder = getattr(people, who)
    return holder.headers


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.route} {row.query}".strip())
async def test_everybody_is_answered_as_the_table_says(
    http: httpx2.AsyncClient, people: People, pool: Pool, row: Row
) -> None:
    ids = await belongings(pool, people)
    slashes = ("",) if row.once else ("", "/")
    for (who, status), slash in product(zip(WHO, row.responses, strict=True), slashes):
        spelling = slash.replace("/", "-with-slash")
        response = await http.request(
            row.method,
            row.path(ids) + slash,
            params=row.query.format(**ids),
            content=row.content(ids, f"{spelling}-{who}"),
            headers={**headers_of(people, who), **row.headers, "content-type": "application/json"},
        )
        assert response.status_code == status, (who, slash, response.text)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        if not row.route.endswith(("/docs", "/schema")):
            assert response.headers["cache-control"] == "no-store"
        assert response.headers.get("www-authenticate") == (
            "Bearer" if response.status_code == 401 else None
        )

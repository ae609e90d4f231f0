"""What the original's README did with curl, by its own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.chat import CHAT
from tests.support.upstream import json_response

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tests.web.api.conftest import People
    from tokenbalance.model import Json


async def test_the_story_of_the_original_works_by_its_own_addresses(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream, email: str
) -> None:
    admin = {"Authorization": f"Token {people.superuser.secret}"}
    person = {"email": email, "password": "a secret", "name": "Ada"}
    created = await http.post("/api/user/create/", json=person, headers=admin)
    assert created.status_code == 201
    user_id = created.json()["id"]

    signed_in = await http.post("/api/user/auth/", json={"email": email, "password": "a secret"})
    assert signed_in.status_code == 200
    assert set(signed_in.json()) == {"token", "expires_at"}
    ada = {"Authorization": f"Token {signed_in.json()['token']}"}
    mine = await http.get("/api/user/me/", headers=ada)
    assert mine.json() == {"id": user_id, "email": email, "name": "Ada", "is_superuser": False}

    def funds(balance: int) -> dict[str, int]:
        credits_left = {"balance": balance, "held": 0, "available": balance}
        return {"user": user_id, **credits_left}

    assert (await http.get("/api/balance/", headers=ada)).json() == funds(0)
    refused = await http.post("/api/openai/chat/completions/", json=CHAT, headers=ada)
    assert refused.status_code == 402

    changed = await http.patch(f"/api/balance/{user_id}/", json={"balance": 30}, headers=admin)
    assert changed.json() == funds(30)
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 15, "total_tokens": 24}
    upstream.script(json_response({"choices": [], "usage": usage}))
    responded = await http.post("/api/openai/chat/completions/", json=CHAT, headers=ada)
    assert responded.status_code == 200
    assert (await http.get("/api/balance/", headers=ada)).json() == funds(6)

    refused = await http.post("/api/openai/chat/completions/", json=CHAT, headers=ada)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_quota")
    forbidden = await http.patch(f"/api/balance/{user_id}/", json={"balance": 99}, headers=ada)
    assert forbidden.status_code == 403
    assert (await http.get("/api/balance/", headers=ada)).json() == funds(6)

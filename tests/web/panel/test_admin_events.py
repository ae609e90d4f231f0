"""What superusers do on the pages leaves events; a page lists them; no secret is in any trace."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.admin import SECRET, Admin, charge, shown
from tests.support.books import create_holder
from tests.support.people import PASSWORD, Somebody
from tests.support.security_log import events_said, everything_logged, lines
from tests.web.panel.test_admin_access import FIELDS, FORMS
from tokenbalance.events import RECORDED, refusals
from tokenbalance.model import Usage
from tokenbalance.people import sign_in
from tokenbalance.people.secrets import new_secret

if TYPE_CHECKING:
    from tests.support.people import Pages, People
    from tokenbalance.database.connections import Pool

ATTEMPTS_MAX = 100
CHECK = "/admin/users/import"
"""Changes nothing; the form that follows shows what it has made, once."""
SCOPE = {"scope-inference": "yes"}
BEFORE = {
    "enable": "UPDATE users SET is_active = false WHERE id = 1",
    "demote": "UPDATE users SET is_superuser = true WHERE id = 1",
}
"""What the form of this address would undo."""


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    refusals._windows.clear()
    monkeypatch.setattr(sign_in, "FAILURE_RESPONSE_AFTER_S", 0.001)


@pytest.fixture
async def subject(pool: Pool) -> None:
    """User 1 with key 1 and the charged request `tb_0`, and team 2: what addresses name."""
    holder = await create_holder(pool, 1000)
    assert (holder.user_id, holder.key_id) == (1, 1)
    await charge(pool, holder, "tb_0", Usage({"input": 10, "output": 10}, total=20))
    await pool.execute("UPDATE users SET tags = '{a}'")
    await pool.execute("INSERT INTO accounts (kind, name) VALUES ('team', 'Physics')")
    # Both accounts have an allowance 1 and a budget 1.
    await pool.execute(
        "INSERT INTO allowances (account_id, amount, every, next_at, created_by)"
        " VALUES (1, 5, 'day', now() + interval '1 day', 'tests')"
    )
    await pool.execute(
        "INSERT INTO limits (account_id, subject, name, unit, period, amount, window_end)"
        " VALUES (1, $1, 'budget:b', 'credits', 'day', 1000, 'epoch')",
        "account",
    )
    await pool.execute(
        "INSERT INTO allowances (account_id, id, amount, every, next_at, created_by)"
        " OVERRIDING SYSTEM VALUE SELECT 2, id, amount, every, next_at, created_by FROM allowances"
    )
    await pool.execute(
        "INSERT INTO limits (account_id, id, subject, name, unit, period, amount, window_end)"
        " OVERRIDING SYSTEM VALUE SELECT 2, id, subject, name, unit, period, amount, window_end"
        " FROM limits"
    )


@pytest.mark.usefixtures("subject")
@pytest.mark.parametrize("path", [path for path in FORMS if path != CHECK])
async def test_every_form_of_a_superuser_leaves_an_event_and_a_line(
    people: People, pool: Pool, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    somebody = await people.create(is_superuser=True)
    async with people.signed_in(somebody) as pages:
        if before := BEFORE.get(path.rpartition("/")[2]):
            await pool.execute(before)
        caplog.clear()
        response = await pages.submit(path, **FIELDS)
    assert response.status_code == (200 if path == f"{CHECK}/run" else 303), response.text
    rows = await pool.fetch("SELECT event, actor, actor_id, actor_key_id, address FROM events")
    assert rows, f"{path} leaves no trace of who did it"
    for row in rows:
        assert row["event"] in RECORDED
        assert tuple(row)[1:] == (somebody.email, somebody.user_id, None, "127.0.0.1")
    assert [row["event"] for row in rows] == events_said(caplog)
    assert {line["actor"] for line in lines(caplog)} == {somebody.email}


async def test_a_refused_form_is_a_line_that_says_whose_and_why(
    admin: Admin, people: People, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/admin/users/{admin.somebody.user_id}/name"
    caplog.clear()
    await admin.pages.post(path, data={"user-name": "x"})
    foreign = {"origin": "https://evil.example"}
    await admin.pages.post(path, data={"form-token": admin.pages.token}, headers=foreign)
    async with people.pages() as stranger:
        await stranger.post("/sign-in", data={"email": "a@b.c"})
    said = {"event": "form.refused", "outcome": "refused", "address": "127.0.0.1"}
    whose = {"user": admin.somebody.user_id, "actor": admin.somebody.email}
    assert lines(caplog) == [
        {**said, **whose, "reason": "wrong_token", "path": path},
        {**said, "reason": "foreign_origin", "path": path},
        {**said, "reason": "wrong_token", "path": "/sign-in"},
    ]


async def try_to_sign_in(pages: Pages, email: str, password: str) -> int:
    await pages.see("/sign-in")
    return (await pages.submit("/sign-in", email=email, password=password)).status_code


async def test_signing_in_failing_and_being_locked_out_are_lines(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    somebody = await people.create()
    caplog.clear()
    async with people.pages() as pages:
        assert await try_to_sign_in(pages, somebody.email, "wrong") == 400
        assert await try_to_sign_in(pages, "nobody@example.com", "wrong") == 400
        for email in ("nobody@example.com", somebody.email):
            for _ in range(ATTEMPTS_MAX):
                if await try_to_sign_in(pages, email, "wrong") == 429:
                    break
        assert "user.signed_in" not in events_said(caplog)
    async with people.signed_in(await people.create()):
        pass
    said = lines(caplog)
    failed = {"event": "user.sign_in_failed", "outcome": "failed", "address": "127.0.0.1"}
    assert said[:2] == [
        {**failed, "reason": "wrong_password", "user": somebody.user_id},
        {**failed, "reason": "unknown_user"},
    ]
    assert said[-1]["event"] == "user.signed_in"
    assert said[-1].keys() == {"event", "outcome", "user", "actor", "key_id", "address"}
    locked_out = {**failed, "event": "user.locked_out", "outcome": "refused"}
    assert [line for line in said if line["event"] == "user.locked_out"] == [
        {**locked_out, "reason": "too_many_failures"},
        {**locked_out, "reason": "too_many_failures", "user": somebody.user_id},
    ]


async def test_no_secret_is_in_a_log_line_or_an_event(
    admin: Admin, people: People, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_wrong_field, wrong, new = "typed-as-e-mail", "a-wrong-password", "a-new-password"
    unknown = new_secret()
    secrets = [PASSWORD, in_the_wrong_field, wrong, new, unknown]
    async with people.pages() as stranger:
        for email in (in_the_wrong_field, admin.somebody.email):
            await try_to_sign_in(stranger, email, wrong)
        for path in ("/v1/models", "/api/user/me"):
            await stranger.get(path, headers={"Authorization": f"Bearer {unknown}"})
        credentials = {"email": admin.somebody.email, "password": PASSWORD}
        token = (await stranger.post("/api/user/auth", json=credentials)).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        made = await stranger.post("/api/keys", json={"name": "laptop"}, headers=headers)
        key = made.json()
        rotated = await stranger.post(f"/api/keys/{key['id']}/rotate", headers=headers)
        created = {"email": "new@example.com", "password": new}
        response = await stranger.post("/api/user/create", json=created, headers=headers)
        user = response.json()["id"]
        secrets += [token, key["key"], rotated.json()["key"]]
    created = {**FIELDS, "email": "other@example.com", "password": new}
    _, secret = await shown(admin.pages, await admin.pages.submit("/admin/users/new", **created))
    await admin.pages.see(f"/admin/users/{user}")
    path = f"/admin/users/{user}/keys"
    _, other = await shown(admin.pages, await admin.pages.submit(path, name="x", **SCOPE))
    await admin.pages.see(f"/admin/users/{user}")
    await admin.pages.submit(f"/admin/users/{user}/password", password=new)
    secrets += [secret, other]
    secrets += await make_secrets(admin, people)

    assert {
        "user.password_set",
        "key.rotated",
        "key.refused",
        "key.revoked",
        "token.ended",
        "user.signed_in",
        "user.sign_in_failed",
    } <= {*events_said(caplog)}
    events = str(await pool.fetch("SELECT row_to_json(events)::text FROM events"))
    hashes = [row[0] for row in await pool.fetch("SELECT password_hash FROM users")]
    for traces in (everything_logged(caplog), events):
        assert "laptop" in events
        assert [secret for secret in secrets if secret in traces] == []
        assert SECRET.search(traces) is None
        assert [each for each in hashes if each and each in traces] == []


async def make_secrets(admin: Admin, people: People) -> list[str]:
    """Sign in, rotate a key, end sign-ins and keys, change a password; returns every secret."""
    somebody, pages = admin.somebody, admin.pages
    _, key = await shown(pages, await pages.submit("/account/keys", name="x", **SCOPE))
    page = await pages.see("/account/keys")
    key_id = max(re.findall(r"/account/keys/(\d+)/rotate", page.text), key=int)
    _, rotated = await shown(pages, await pages.submit(f"/account/keys/{key_id}/rotate"))
    cookies: list[str] = []
    async with people.signed_in(somebody) as known:
        cookies += dict(known.cookies).values()
        wrong, new = "a-wrong-current-one", "a-password-after-that"
        for current in (wrong, PASSWORD):
            fields = {"current": current, "password": new, "repeated": new}
            await known.submit("/account/profile/password", **fields)
        credentials = {"email": somebody.email, "password": new}
        token = (await known.post("/api/user/auth", json=credentials)).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        for changes in (
            {"password": f"{new}-2", "current_password": wrong},
            {"password": f"{new}-2", "current_password": new},
        ):
            await known.patch("/api/user/me", json=changes, headers=headers)
        again = {"email": somebody.email, "password": f"{new}-2"}
        other = (await known.post("/api/user/auth", json=again)).json()["token"]
        path = "/api/keys/all/revoke"
        ended = await known.post(path, json={"tokens": True}, headers=headers)
        assert ended.is_success, ended.text
        await known.get("/v1/models", headers={"Authorization": f"Bearer {rotated}"})
    # The token of forms is in pages, and derived from a secret in a cookie.
    return [key, rotated, wrong, new, f"{new}-2", token, other, *cookies]


async def test_events_are_filtered_and_downloaded(admin: Admin, people: People) -> None:
    other = await people.create(name="<b>Ada</b>")

    async def found(query: str) -> list[str]:
        page = await admin.pages.see(f"/admin/events?{query}")
        return re.findall(r"<td><code>([a-z._]+)</code></td>", page.text)

    assert await found("") == []
    await act(admin, other)
    assert await found("") == ["balance.added", "user.disabled", "user.renamed"]
    assert await found(f"user={other.email.upper()}&event=user.disabled") == ["user.disabled"]
    assert await found(f"actor={admin.somebody.email}") == await found("")
    assert await found("actor=cli") == []
    assert await found("until=2020-01-01") == []
    assert await found("since=2020-01-01&until=2099-01-01") == await found("")
    page = await admin.pages.see("/admin/events")
    assert "name: <bdi>&lt;b&gt;Ada&lt;/b&gt;</bdi> → <bdi>Bea</bdi>" in page.text
    assert "is_active: true → false" in page.text
    assert "balance: 0 → 30" in page.text
    assert (await admin.pages.get("/admin/events?event=user.signed_in")).status_code == 400
    file = await admin.pages.get("/admin/events.csv?event=user.renamed")
    assert 'filename="tokenbalance-events-' in file.headers["content-disposition"]
    assert len(file.text.splitlines()) == 2


async def act(admin: Admin, other: Somebody) -> None:
    """Rename and disable somebody, and give them credits."""
    path = f"/admin/users/{other.user_id}"
    for form, fields in (
        ("name", {"user-name": "Bea"}),
        ("disable", {}),
        ("credits", {"add-amount": "30", "add-note": "May", "once": "x"}),
    ):
        response = await admin.pages.submit(f"{path}/{form}", **fields)
        assert response.status_code == 303

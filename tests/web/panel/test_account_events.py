"""What people do on their own pages leaves a line, and an event if they are superusers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.support.people import PASSWORD
from tests.support.security_log import events_said, lines
from tests.web.panel.test_admin_access import takes
from tokenbalance.events import RECORDED, refusals
from tokenbalance.people import sign_in
from tokenbalance.web.panel.account import ROUTES

if TYPE_CHECKING:
    from tests.support.people import People
    from tokenbalance.database.connections import Pool

FORMS = [route.path for route in ROUTES if takes(route, "POST")]
FIELDS = {
    "name": "Ada Byron",
    "tokens": "yes",
    "current": PASSWORD,
    "password": "a-new-password-of-mine",
    "repeated": "a-new-password-of-mine",
    "scope-inference": "yes",
    "requests_per_minute": "60",
    "budget-amount": "5",
    "budget-every": "day",
    "budget-unit": "credits",
}
"""With which every form would do something."""


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    refusals._windows.clear()
    monkeypatch.setattr(sign_in, "FAILURE_RESPONSE_AFTER_S", 0.001)


def test_every_form_is_among_those_that_are_tried() -> None:
    assert len(FORMS) == 11


@pytest.mark.parametrize("is_superuser", [False, True])
@pytest.mark.parametrize("path", FORMS)
async def test_every_form_leaves_a_line_and_an_event_of_superusers(
    people: People, pool: Pool, path: str, *, is_superuser: bool, caplog: pytest.LogCaptureFixture
) -> None:
    somebody = await people.create(is_superuser=is_superuser)
    async with people.signed_in(somebody) as other, people.signed_in(somebody) as pages:
        assert other.cookies
        await pages.submit("/account/keys", **FIELDS)
        key_id = await pool.fetchval("SELECT max(id) FROM api_keys WHERE kind = 'key'")
        token_id = await pool.fetchval("SELECT min(id) FROM api_keys WHERE kind = 'sign-in'")
        budget_id = await pool.fetchval(
            "INSERT INTO limits (account_id, subject, name, unit, period, amount, window_end)"
            " SELECT account_id, 'key:' || id, 'budget:b', 'credits', 'day', 1000, 'epoch'"
            " FROM api_keys WHERE id = $1 RETURNING id",
            key_id,
        )
        before = await pool.fetchval("SELECT coalesce(max(id), 0) FROM events")
        caplog.clear()
        ids = {"key_id": key_id, "token_id": token_id, "budget_id": budget_id}
        # Other limits than those of the key that was made.
        changed = {**FIELDS, "requests_per_minute": "50"}
        response = await pages.submit(path.format_map(ids), **changed)
    assert response.status_code == 303, response.text
    said = lines(caplog)
    assert said, f"{path} leaves no trace of who did it"
    assert {(line["actor"], line["user"], line["address"]) for line in said} == {
        (somebody.email, somebody.user_id, "127.0.0.1")
    }
    rows = await pool.fetch("SELECT event, actor_id FROM events WHERE id > $1 ORDER BY id", before)
    assert [row["event"] for row in rows] == (events_said(caplog) if is_superuser else [])
    assert {row["event"] for row in rows} <= {*RECORDED}
    assert {row["actor_id"] for row in rows} <= {somebody.user_id}


async def test_a_wrong_current_password_is_a_failed_sign_in(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    somebody = await people.create()
    async with people.signed_in(somebody) as pages:
        caplog.clear()
        for _ in range(100):
            wrong = {**FIELDS, "current": "wrong"}
            response = await pages.submit("/account/profile/password", **wrong)
            assert response.status_code == 400
            if "user.locked_out" in events_said(caplog):
                break
    first, *_, last = lines(caplog)
    assert (first["event"], first["reason"]) == ("user.sign_in_failed", "wrong_password")
    assert last["event"] == "user.locked_out"
    assert first["user"] == last["user"] == somebody.user_id

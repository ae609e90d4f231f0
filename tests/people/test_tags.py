"""Everybody who has a tag, at once; what a tag may be is tested by the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.actors import NOBODY
from tokenbalance.model import CLI
from tokenbalance.people.tag_names import InvalidTag, clean_tag, clean_tags
from tokenbalance.people.tags import SetActive, list_tags, set_tag_active, tag_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow

WORKING = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND kind = 'sign-in'"


async def test_disabling_a_tag_ends_its_sign_ins_and_no_others(
    sessions: Sessions, pool: Pool, create: Callable[..., Awaitable[UserRow]]
) -> None:
    users = [await create(f"u{n}@x.org", is_superuser=n == 2) for n in range(4)]
    async with sessions.begin() as session:
        for user in users[:3]:
            _ = await tag_user(session, user.id, add=["class"], actor=NOBODY)
    for user in users:
        await pool.execute(
            "INSERT INTO api_keys (account_id, kind, prefix, secret_sha256, expires_at)"
            " VALUES ($1, 'sign-in', 'tb-', sha256($2::text::bytea), now() + interval '1 day')",
            user.account.id,
            user.email,
        )
        await pool.execute(
            "INSERT INTO known_browsers (user_id, secret_sha256, last_sign_in_at)"
            " VALUES ($1, sha256($2::text::bytea), now())",
            user.id,
            user.email,
        )
    async with sessions.begin() as session:
        assert await set_tag_active(session, "Class", active=False, actor=CLI) == SetActive(2, 1)
    assert await pool.fetchval(WORKING) == 2
    browsers = await pool.fetch("SELECT user_id FROM known_browsers ORDER BY 1")
    assert [row["user_id"] for row in browsers] == [users[2].id, users[3].id]
    events = await pool.fetch("SELECT event, user_id, details->>'is_active' FROM events ORDER BY 2")
    told = '{"new": false, "old": true}'
    assert [(row[0], row[1]) for row in events] == [
        ("user.disabled", users[0].id),
        ("user.disabled", users[1].id),
    ]
    assert {row[2] for row in events} == {told}
    async with sessions.begin() as session:
        (row,) = await list_tags(session)
        assert (row.name, row.users, row.disabled) == ("class", 3, 2)
        assert await set_tag_active(session, "class", active=True, actor=CLI) == SetActive(2, 1)
    # What has ended stays ended.
    assert await pool.fetchval(WORKING) == 2


def test_tags_are_lower_case_sorted_and_each_once() -> None:
    assert clean_tags(["b", " A.1 ", "B", "2026:x_y-z"]) == ("2026:x_y-z", "a.1", "b")
    assert clean_tag("a" * 40) == "a" * 40


@pytest.mark.parametrize("tag", ["", " ", "a b", ".a", "ä", "a/b", "a\nb", "a" * 41, "\u0661"])
def test_other_words_are_no_tags(tag: str) -> None:
    with pytest.raises(InvalidTag):
        _ = clean_tag(tag)

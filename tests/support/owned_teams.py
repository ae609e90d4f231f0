"""A team with something of everything, written by statements: quickly made for each route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import create_holder
from tokenbalance.people.secrets import new_secret, sha256

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def of_team(pool: Pool, owner: Holder) -> dict[str, str]:
    """Give a user a team with another member, a project, a service key and an invitation."""
    team_id = await pool.fetchval(
        "INSERT INTO accounts (kind, name) VALUES ('team', 'Crew') RETURNING id"
    )
    member = await create_holder(pool)
    await pool.execute(
        "INSERT INTO memberships (account_id, user_id, role)"
        " VALUES ($1, $2, 'owner'), ($1, $3, 'member')",
        team_id,
        owner.user_id,
        member.user_id,
    )
    project_id = await pool.fetchval(
        "INSERT INTO projects (account_id, name) VALUES ($1, 'Optics') RETURNING id", team_id
    )
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256)"
        " VALUES ($1, 'tb-team', sha256(gen_random_uuid()::text::bytea)) RETURNING id",
        team_id,
    )
    secret = new_secret("")
    invitation_id = await pool.fetchval(
        "INSERT INTO invitations (account_id, secret_sha256, role, created_by, expires_at)"
        " VALUES ($1, $2, 'member', '', now() + interval '1 day') RETURNING id",
        team_id,
        sha256(secret),
    )
    await pool.execute(
        "WITH guests AS (INSERT INTO users (email)"
        " SELECT concat('guest', x, '-', y, '@example.com')"
        " FROM unnest(ARRAY['', '-with-slash', '-event', '-3']) x,"
        " unnest(ARRAY['user', 'superuser']) y"
        " ON CONFLICT DO NOTHING RETURNING id)"
        " INSERT INTO accounts (user_id) SELECT id FROM guests"
    )
    return {
        "team_id": str(team_id),
        "member_id": str(member.user_id),
        "project_id": str(project_id),
        "team_key_id": str(key_id),
        "invitation_id": str(invitation_id),
        "secret": secret,
    }

"""What is shown of teams, members and projects, by the field names of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.people.limit_text import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.cli.output import Fields
    from tokenbalance.people.limits import KeyLimits
    from tokenbalance.people.teams.rows import MemberRow, ProjectRow, TeamRow

TEAM_COLUMNS: Final = (
    *("id", "name", "time_zone", "balance", "held", "available"),
    *("created_at", "closed_at"),
)
_MEMBERS: Final = ("user_id", "email", "name", "role", "limits", "joined_at", "disabled_at")
_PROJECTS: Final = ("id", "name", "limits", "created_at", "archived_at")


def team_fields(team: TeamRow) -> Fields:
    """Return what is shown of a team."""
    return {
        "id": team.id,
        "name": team.name,
        "time_zone": team.time_zone,
        "balance": team.balance,
        "held": team.held,
        "available": team.available,
        "created_at": team.created_at,
        "closed_at": team.closed_at,
        **cast("Fields", team.limits.values()),
    }


def member_fields(member: MemberRow) -> Fields:
    """Return what is shown of a member."""
    return {
        "user_id": member.user_id,
        "email": member.email,
        "name": member.name,
        "role": member.role,
        "joined_at": member.joined_at,
        "disabled_at": member.disabled_at,
        "is_active": member.is_active and member.disabled_at is None,
        **cast("Fields", member.limits.values()),
    }


def project_fields(project: ProjectRow) -> Fields:
    """Return what is shown of a project."""
    return {
        "id": project.id,
        "name": project.name,
        "created_at": project.created_at,
        "archived_at": project.archived_at,
        **cast("Fields", project.limits.values()),
    }


def limits_list(limits: KeyLimits) -> list[str]:
    """Return the limits that there are, each as commands take it."""
    values = limits.values().items()
    return [f"{name}={written(value)}" for name, value in values if value is not None]


def limits_text(limits: KeyLimits) -> str:
    """Return the limits that there are in a line."""
    return " ".join(limits_list(limits)) or "no limits"


def print_members(members: Sequence[MemberRow]) -> None:
    """Print a table of members."""
    rows = [{**member_fields(one), "limits": limits_list(one.limits)} for one in members]
    print_table(_MEMBERS, rows)


def print_projects(projects: Sequence[ProjectRow]) -> None:
    """Print a table of projects."""
    rows = [{**project_fields(one), "limits": limits_list(one.limits)} for one in projects]
    print_table(_PROJECTS, rows)


def report_team(team: TeamRow, done: str, *, as_json: bool) -> None:
    """Print a team that was changed."""
    if as_json:
        print_json(team_fields(team))
    else:
        print_line(f"{done}: {team.id} {team.name}")


def report_member(member: MemberRow, done: str, *, as_json: bool) -> None:
    """Print a member who was changed."""
    if as_json:
        print_json(member_fields(member))
    else:
        print_line(f"{done}: {member.email}, {member.role}, {limits_text(member.limits)}")


def report_project(project: ProjectRow, done: str, *, as_json: bool) -> None:
    """Print a project that was changed."""
    if as_json:
        print_json(project_fields(project))
    else:
        print_line(f"{done}: {project.id} {project.name}, {limits_text(project.limits)}")

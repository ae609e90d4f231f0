"""Why something about a team is refused; each message is one line for people.

TeamError
|-- AlreadyMember
|-- InvalidProject
|-- InvalidTeamName
|-- LastOwner
|-- ProjectArchived
|-- TeamClosed
|-- TooManyInTeam
|-- UnknownInvitation
|-- UnknownMember
|-- UnknownProject
|-- UnknownTeam
`-- ViewersHaveNoKeys
"""

from __future__ import annotations


class TeamError(Exception):
    """The change is refused and nothing was changed."""


class UnknownTeam(TeamError):
    """No team has this id, or it is none of the caller's."""

    def __init__(self, team_id: int) -> None:
        super().__init__(f"no team has the id {team_id}")


class UnknownMember(TeamError):
    """The user is no member of the team."""

    def __init__(self, user_id: int) -> None:
        super().__init__(f"no member of this team has the id {user_id}")


class UnknownProject(TeamError):
    """The team has no such project."""

    def __init__(self, project_id: int) -> None:
        super().__init__(f"no project of this team has the id {project_id}")


class UnknownInvitation(TeamError):
    """No invitation has this id, or this secret and may be used by this user."""


class InvalidTeamName(TeamError):
    """The name is empty, too long, or has control characters."""


class InvalidProject(TeamError):
    """The name belongs to another project of the team."""


class ProjectArchived(TeamError):
    """Nothing can be added to the project."""

    def __init__(self) -> None:
        super().__init__("this project is archived: choose another one, or take that back")


class ViewersHaveNoKeys(TeamError):
    """The member is a viewer."""

    def __init__(self) -> None:
        super().__init__("viewers of a team have no keys in it: change the role first")


class TooManyInTeam(TeamError):
    """There are as many as there may be."""


class AlreadyMember(TeamError):
    """The user is a member already."""


class LastOwner(TeamError):
    """The team would have no owner who can sign in."""

    def __init__(self) -> None:
        super().__init__("this is the last owner of the team: make another member an owner first")


class TeamClosed(TeamError):
    """The team was deleted: only its ledger is left."""

    def __init__(self, team_id: int) -> None:
        super().__init__(f"team {team_id} was deleted: nothing of it can be changed any more")

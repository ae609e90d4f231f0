"""Users: create one, read and change oneself; for superusers, every user."""

from typing import Annotated, ClassVar

from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field, SecretStr

from tokenbalance.books.grants.due import enter_some_due
from tokenbalance.errors import MissingParameter
from tokenbalance.model import Actor, Caller
from tokenbalance.people.access import require_sign_in, user_of
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.password_rules import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.rows import UserRow
from tokenbalance.people.sign_in import Attempt, confirm
from tokenbalance.people.sign_up import Stranger, Wanted, sign_up
from tokenbalance.people.tag_names import TAGS_MAX
from tokenbalance.people.users import (
    NAME_CHARS_MAX,
    Changes,
    Kept,
    clean_name,
    get_user,
    update_user,
    users_page,
)
from tokenbalance.web.api.bodies import Body, BodyReader, ChangesBody
from tokenbalance.web.api.callers import (
    Acting,
    Authenticated,
    Managing,
    Superuser,
    may_create_users,
)
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Number, Text
from tokenbalance.web.api.responses import (
    CreatedUser,
    Me,
    PageResponse,
    UserResponse,
    page_response,
    user_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import address_of, management_of

users_router = api_router("Users")

_NAME = f"At most {NAME_CHARS_MAX} characters."
_PASSWORD = (
    f"{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters, not a common password, and neither"
    " the e-mail nor the part of it before the `@`; the operator may have chosen another minimum"
)


class NewUser(Body):
    """A user to create, with an empty account."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [{"email": "ada@example.com", "password": "a long one", "name": "Ada"}]
        }
    )

    email: str = Field(description=f"Case is ignored; at most {EMAIL_CHARS_MAX} characters.")
    password: SecretStr = Field(description=f"{_PASSWORD}.")
    name: str = Field(default="", description=_NAME)


class OwnChanges(ChangesBody):
    """Changes of one's own user."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [{"current_password": "a long one", "password": "a longer one"}]
        }
    )

    name: str = Field(default="", description=_NAME)
    password: SecretStr = Field(
        default=SecretStr(""),
        description=f"{_PASSWORD}. Ends every other sign-in token.",
    )
    current_password: SecretStr = Field(
        default=SecretStr(""), description="Required with `password`: the one until now."
    )


class UserChanges(ChangesBody):
    """Changes of a user by a superuser."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"is_active": False}]}
    )

    name: str = Field(default="", description=_NAME)
    is_active: bool = Field(default=True, description="Whether the user's keys work.")
    is_superuser: bool = Field(default=False, description="May manage other users.")
    tags: list[str] = Field(
        default=[],
        max_length=TAGS_MAX,
        description="All of them: words of letters, digits and `-_.:`, stored in lower case.",
    )


@users_router.post("/user/create", status_code=201, summary="Create a user", responses={429: {}})
async def create(
    request: Request,
    by_superuser: Annotated[Actor | None, Depends(may_create_users)],
    body: Annotated[NewUser, Depends(BodyReader(NewUser))],
) -> CreatedUser:
    """Create a user with a balance of 0.

    For superusers, and for everybody if `TOKENBALANCE_SIGNUP` is `open`; the number of users that
    can be created from one address is limited over time.
    """
    user = await sign_up(
        management_of(request).sessions,
        Wanted(body.email, body.name, body.password.get_secret_value()),
        by_superuser or Stranger(address_of(request)),
        management_of(request).password_rules,
    )
    return CreatedUser(id=user.id, email=user.email, name=user.name)


@users_router.get("/user/me", summary="My user")
async def me(request: Request, caller: Authenticated) -> Me:
    """Return the user whose key or sign-in token this is."""
    async with management_of(request).sessions() as session:
        return _me(await get_user(session, user_of(caller)))


@users_router.patch("/user/me", summary="Change my name or password", responses={403: {}})
async def change_me(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[OwnChanges, Depends(BodyReader(OwnChanges))],
) -> Me:
    """Change your name, your password, or both.

    A new password requires a sign-in token and the current password, whose failures count like
    those of signing in. It ends all your other sign-in tokens. Keys keep working.
    """
    changes = Changes(
        name=clean_name(body.name) if "name" in body.model_fields_set else None,
        password_hash=await _new_password_hash(request, caller, body),
    )
    async with management_of(request).sessions.begin() as session:
        kept = Kept(caller.key_id)
        user = await update_user(session, user_of(caller), changes, kept, actor=actor)
    return _me(user)


@users_router.get("/users", summary="List users")
async def list_users(
    request: Request,
    _caller: Superuser,
    search: Annotated[Text, Query(description="A part of the e-mail or the name.")] = "",
    tag: Annotated[Text, Query(description="Only users who have this tag.")] = "",
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[UserResponse]:
    """List users with their balances, page by page."""
    await enter_some_due(management_of(request).pool)
    async with management_of(request).sessions() as session:
        return page_response(await users_page(session, search, after, limit, tag), user_response)


@users_router.patch("/users/{user_id}", summary="Change a user")
async def change_user(
    request: Request,
    caller: Superuser,
    actor: Acting,
    user_id: Number,
    body: Annotated[UserChanges, Depends(BodyReader(UserChanges))],
) -> UserResponse:
    """Change a user's name or tags, disable or enable the user, or change their role.

    The keys of a disabled user stop working at once, and their sign-in tokens end. The last active
    superuser can neither be disabled nor become an ordinary user (400). Changing a role, and
    disabling or enabling a superuser, requires a sign-in token (403): a key makes nobody a
    superuser who could outlive it.
    """
    given = body.model_fields_set
    if "is_superuser" in given:
        require_sign_in(caller)
    changes = Changes(
        name=body.name if "name" in given else None,
        is_active=body.is_active if "is_active" in given else None,
        is_superuser=body.is_superuser if "is_superuser" in given else None,
        tags=tuple(body.tags) if "tags" in given else None,
    )
    async with management_of(request).sessions.begin() as session:
        user = await update_user(session, user_id, changes, actor=actor)
        # Now the row is locked. A refusal takes the change back.
        if user.is_superuser and "is_active" in given:
            require_sign_in(caller)
    return user_response(user)


async def _new_password_hash(request: Request, caller: Caller, body: OwnChanges) -> str | None:
    """Hash a new password, if one is given, once the current one has been confirmed."""
    given = body.model_fields_set
    if "password" not in given:
        return None
    require_sign_in(caller)
    if "current_password" not in given:
        msg = "Missing required parameter: 'current_password'. A new password requires the old one."
        raise MissingParameter(msg, param="current_password")
    management, password = management_of(request), body.password.get_secret_value()
    async with management.sessions() as session:
        email = (await get_user(session, user_of(caller))).email
    # Before the work of verifying: it is refused whatever the current one is.
    management.password_rules.check(password, email)
    current = body.current_password.get_secret_value()
    await confirm(management.sessions, Attempt(email, current, address_of(request)))
    return await hash_password(password, management.password_rules, email)


def _me(user: UserRow) -> Me:
    return Me(id=user.id, email=user.email, name=user.name, is_superuser=user.is_superuser)

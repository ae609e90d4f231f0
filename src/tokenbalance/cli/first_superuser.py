"""Creates the first superuser from the settings when a server starts, for unattended set-ups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokenbalance.cli.output import print_aside
from tokenbalance.database.connections import open_sessions
from tokenbalance.settings import SettingsError

if TYPE_CHECKING:
    from tokenbalance.settings import Settings


def create_superuser_of(settings: Settings, dsn: str) -> None:
    """Create the superuser that the settings name, unless there is one already.

    Raises:
        SettingsError: the address or the password is not accepted.

    """
    email, password = settings.admin_email, settings.admin_password
    if email is None or password is None:
        return
    if asyncio.run(_create(dsn, email, password.get_secret_value(), settings.password_chars_min)):
        print_aside(f"Superuser created: {email}")


async def _create(dsn: str, email: str, password: str, chars_min: int) -> bool:
    from tokenbalance.people.first_superuser import (  # noqa: PLC0415 - slow to import
        create_first_superuser,
    )
    from tokenbalance.people.password_rules import (  # noqa: PLC0415 - as above
        PasswordError,
        PasswordRules,
    )
    from tokenbalance.people.users import UserError  # noqa: PLC0415 - as above

    try:
        async with open_sessions(dsn) as sessions:
            return await create_first_superuser(sessions, email, password, PasswordRules(chars_min))
    except UserError as error:
        msg = f"TOKENBALANCE_ADMIN_EMAIL: {error}"
        raise SettingsError(msg) from None
    except PasswordError as error:
        msg = f"TOKENBALANCE_ADMIN_PASSWORD_FILE: {error}"
        raise SettingsError(msg) from None

"""Alembic, called from Python: migrates a database to the newest schema."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

import tokenbalance
from tokenbalance.database.moving.progress import say_nothing

if TYPE_CHECKING:
    from tokenbalance.database.moving.progress import Report

_PACKAGED = Path(tokenbalance.__file__).parent / "migrations"
_CHECKOUT = Path(tokenbalance.__file__).parents[2] / "migrations"


def alembic_config(dsn: str) -> Config:
    """Build Alembic's configuration for one database, without an ini file."""
    config = Config()
    scripts = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["dsn"] = dsn
    return config


def migrate(dsn: str, report: Report = say_nothing) -> None:
    """Upgrade to head. Several processes may do so at once: the first one does the work.

    Args:
        dsn: the database.
        report: gets a line for people every few seconds, if there is much to do.

    """
    config = alembic_config(dsn)
    config.attributes["report"] = report
    command.upgrade(config, "head")


async def migrate_in_thread(dsn: str) -> None:
    """Upgrade to head from within an event loop; Alembic runs a loop of its own in a thread."""
    await asyncio.to_thread(migrate, dsn)

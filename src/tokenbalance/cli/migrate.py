"""`tokenbalance migrate`: the newest schema."""

from tokenbalance.cli.arguments import AsJson
from tokenbalance.cli.database import migrate_to_head, open_database
from tokenbalance.cli.output import print_json, print_line
from tokenbalance.settings import Settings, load_settings


def migrate_database(*, as_json: AsJson = False) -> None:
    """Bring the database to the newest schema. Again is harmless."""
    settings = load_settings()
    with open_database(settings) as dsn:
        migrate_to_head(migration_dsn(settings, dsn))
    if as_json:
        print_json({"migrated": True})
    else:
        print_line("the database has the newest schema")


def migration_dsn(settings: Settings, dsn: str) -> str:
    """Where to migrate: past the pooler, if DATABASE_URL is one."""
    url = settings.migration_url
    return dsn if settings.database_url is None or url is None else url.get_secret_value()

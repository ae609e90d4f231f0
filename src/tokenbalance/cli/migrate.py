"""`tokenbalance migrate`: migrate the database."""

from tokenbalance.cli.arguments import AsJson
from tokenbalance.cli.database import migrate_to_head, open_database
from tokenbalance.cli.output import print_json, print_line
from tokenbalance.settings import Settings, load_settings


def migrate_database(*, as_json: AsJson = False) -> None:
    """Migrate the database to the newest schema. Safe to repeat."""
    settings = load_settings()
    with open_database(settings, creates=True) as dsn:
        migrate_to_head(migration_dsn(settings, dsn))
    if as_json:
        print_json({"migrated": True})
    else:
        print_line("The schema is up to date")


def migration_dsn(settings: Settings, dsn: str) -> str:
    """Return the DSN for migrations, which bypasses a pooler."""
    url = settings.migration_url
    return dsn if settings.database_url is None or url is None else url.get_secret_value()

"""Where the books are kept: tables, connections, migrations, the embedded Postgres."""

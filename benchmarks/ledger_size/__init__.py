"""What books of a million requests cost: write-ahead log, Postgres, settlements, plans and disk."""

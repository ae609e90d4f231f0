"""Many users at once, with a real Postgres."""

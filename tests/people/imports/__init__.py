"""Tables of users, read without a database."""

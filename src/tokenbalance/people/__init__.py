"""People: users, their accounts, their API keys."""

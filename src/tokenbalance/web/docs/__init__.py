"""The documentation pages, and what they say of every endpoint."""

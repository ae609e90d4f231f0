"""The order of things: what becomes of one request, from its key to its charge."""

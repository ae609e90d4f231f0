"""Whose is what the upstream stores. Knows no HTTP, no money, and no format of the upstream's."""

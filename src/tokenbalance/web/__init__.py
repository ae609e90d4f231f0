"""The management API, the pages, and the documentation."""

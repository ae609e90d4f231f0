"""The management API: its routes, request and response bodies, and errors."""

"""What people meet: the management routes, the pages, the documentation."""

"""Read-only mode, and what the health check says of it."""

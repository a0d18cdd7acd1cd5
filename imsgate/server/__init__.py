"""The embedded server, and what other servers need."""

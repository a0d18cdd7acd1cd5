"""Handlers of the Image API v2, one module per resource; ``routes`` lists every call."""

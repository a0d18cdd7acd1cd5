"""The Image API v2, one module per resource; ``routes`` holds it all on one page."""

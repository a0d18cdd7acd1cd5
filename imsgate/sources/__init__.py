"""Where image data comes from besides a request body."""

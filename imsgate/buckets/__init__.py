"""Users' buckets, where images are registered from and exported to."""

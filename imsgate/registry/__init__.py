"""Image records: the registry contract and its drivers."""

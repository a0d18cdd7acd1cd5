"""Storage for image data: the store contract, its drivers and their loader."""

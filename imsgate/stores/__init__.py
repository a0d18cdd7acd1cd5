"""Where image data lies: the store contract and its drivers."""

"""HTTP: requests, bodies and responses as imsgate's filters and application see them."""

"""The page on which people drop images: static files, and a way to sign in with a password."""

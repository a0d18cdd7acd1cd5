"""Authentication and authorization: tokens, access keys, identities and policy."""

"""Who asks and what they may do: tokens, access keys, signatures and policy."""

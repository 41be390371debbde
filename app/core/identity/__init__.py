"""The identity and the rights of a user: tokens, keys, names, passwords, revocations. Pure."""

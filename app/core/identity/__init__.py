"""Who a user is and what the user may do: tokens, keys, names, passwords, revocations. Pure."""

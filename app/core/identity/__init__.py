"""Who someone is and what they may do: tokens, keys, names, passwords, withdrawals. Pure."""

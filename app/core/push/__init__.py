"""Web Push without I/O: addresses, keys, encryption, and the content of a notification."""

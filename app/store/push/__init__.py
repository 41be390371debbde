"""Web Push in Redis: the devices of each user, and the pushes that wait."""

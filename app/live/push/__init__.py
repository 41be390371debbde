"""Web Push in a worker: claims pushes that are due and sends them to push services."""

"""What a worker tells the store about its connections and its work."""

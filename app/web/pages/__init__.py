"""The pages for people, their sign-in and their static files."""

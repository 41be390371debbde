"""The pages that people see, their sign-in and their static files."""

"""The gunicorn side: the worker, its listeners and connections, socket parking, overload gates."""

"""How gunicorn serves a checkout of Belfry. The settings are in app/server/configuration.py; add your own below."""

from app.server.configuration import *  # noqa: F403 - gunicorn reads the names of this module

"""The WSGI application, where uWSGI's configuration looks for it."""

from habitat_like.main.wsgi import application

__all__ = ["application"]

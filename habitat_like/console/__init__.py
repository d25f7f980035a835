"""The operator's console: a Flask application that the gateway serves below ``/console``."""

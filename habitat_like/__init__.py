"""habitat_like: a message server with a durable SCGI gateway inside it."""

__version__ = "0.1.0"

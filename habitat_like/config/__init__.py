"""The configuration: its keys (``keys``), and reading and checking them (``file``)."""

from habitat_like.config.file import (
    DEFAULT_PATH,
    effective,
    environment_keys,
    find,
    load,
    unknown_environment,
)
from habitat_like.config.keys import Config, ConfigError, keys

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "effective",
    "environment_keys",
    "find",
    "keys",
    "load",
    "unknown_environment",
]

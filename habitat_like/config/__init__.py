"""The configuration: its keys (``keys``), and reading and checking them (``file``)."""

from habitat_like.config.file import (
    DEFAULT_PATH,
    effective,
    environment_keys,
    find,
    load,
    origin,
    unknown_environment,
)
from habitat_like.config.keys import (
    AccessConfig,
    ArchiveConfig,
    Config,
    ConfigError,
    ConsoleConfig,
    ControlConfig,
    GatewayConfig,
    JournalConfig,
    LogConfig,
    keys,
)

__all__ = [
    "DEFAULT_PATH",
    "AccessConfig",
    "ArchiveConfig",
    "Config",
    "ConfigError",
    "ConsoleConfig",
    "ControlConfig",
    "GatewayConfig",
    "JournalConfig",
    "LogConfig",
    "effective",
    "environment_keys",
    "find",
    "keys",
    "load",
    "origin",
    "unknown_environment",
]

"""The HiSPARC datastore's INI file, which the WSGI application reads instead of ours."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from habitat_like import config as configuration
from habitat_like.config.keys import ArchiveConfig, Config, ConfigError, JournalConfig, LogConfig

#: The path for requests that name none of ours: the datastore has only this one.
DEFAULT_PATH = "/upload"
NETWORK = "hisparc"

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}
#: The datastore's log levels that have another name here.
_LEVELS |= {"critical": "error", "": "info"}


class Settings(NamedTuple):
    """What the INI file says: a gateway's ``socket``, or our own configuration.

    ``config_path`` is the configuration file, None if there is only the INI file.
    """

    config: Config
    socket: str | None
    config_path: str | None = None


def read(path: str) -> Settings:
    """The settings in the file at ``path``. Raises ConfigError."""
    parser = configparser.ConfigParser()
    try:
        with Path(path).open(encoding="utf-8") as file:
            parser.read_file(file)
        general = dict(parser["General"])
        own = dict(parser["Habitat"]) if parser.has_section("Habitat") else {}
        # For the writer process, which no longer exists: uploads wake the sinks.
        parser.getfloat("Writer", "sleep", fallback=0.0)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except KeyError:
        raise ConfigError(f"{path}: there is no section [General]") from None
    except (configparser.Error, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if unknown := sorted(own.keys() - {"socket", "config"}):
        raise ConfigError(f"{path}: [Habitat] {unknown[0]}: expected socket or config")
    if len(own) > 1:
        raise ConfigError(f"{path}: [Habitat]: give either socket or config")
    config = configuration.load(own["config"], {}) if "config" in own else _config(path, general)
    if "socket" not in own and NETWORK not in config.networks:
        settings = {"station_list": _need(path, general, "station_list")}
        networks = {**config.networks, NETWORK: settings}
        config = msgspec.structs.replace(config, networks=networks)
    return Settings(config, own.get("socket"), own.get("config"))


def _config(path: str, general: Mapping[str, str]) -> Config:
    """A configuration with all paths below the datastore's ``data_dir``."""
    data = Path(_need(path, general, "data_dir"))
    level = general.get("loglevel", "").lower()
    if level not in _LEVELS:
        raise ConfigError(f"{path}: [General] loglevel: {level!r} is none of {', '.join(_LEVELS)}")
    return Config(
        journal=JournalConfig(path=str(data / "journal.sqlite")),
        archive=ArchiveConfig(uri=f"sqlite:{data / 'archive.sqlite'}"),
        log=msgspec.convert(
            {"level": _LEVELS[level], "file": general.get("log") or None}, LogConfig
        ),
    )


def _need(path: str, general: Mapping[str, str], key: str) -> str:
    if not general.get(key):
        raise ConfigError(f"{path}: [General] {key} is missing")
    return general[key]

"""Catalogue: the networks that there are, and the settings of those that are on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from habitat_like.config.imports import import_path
from habitat_like.config.keys import ConfigError
from habitat_like.networks.base import Network

#: The networks that come with the program: the name in the configuration, and the class.
BUILT_IN = {
    "airrohr": "habitat_like.networks.airrohr.AirRohr",
    "chirpstack": "habitat_like.networks.chirpstack.ChirpStack",
    "cloudevents": "habitat_like.networks.cloudevents.CloudEvents",
    "habitat": "habitat_like.networks.habitat.Habitat",
    "helium": "habitat_like.networks.helium.Helium",
    "hisparc": "habitat_like.networks.hisparc.network.Hisparc",
    "influx": "habitat_like.networks.influx.Influx",
    "opensensemap": "habitat_like.networks.opensensemap.OpenSenseMap",
    "osmand": "habitat_like.networks.osmand.OsmAnd",
    "owntracks": "habitat_like.networks.owntracks.OwnTracks",
    "rockblock": "habitat_like.networks.rockblock.RockBlock",
    "safecast": "habitat_like.networks.safecast.Safecast",
    "sondehub": "habitat_like.networks.sondehub.SondeHub",
    "ttn": "habitat_like.networks.ttn.TheThingsStack",
    "weather": "habitat_like.networks.weather.Weather",
}


def find(name: str) -> type[Network]:
    """The network ``name``, one of ours or the dotted path of a class. Raises ConfigError."""
    if "." not in name and name not in BUILT_IN:
        near = difflib.get_close_matches(name.lower(), BUILT_IN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(BUILT_IN))}"
        raise ConfigError(f"there is no network {name!r}; {hint}")
    try:
        found = import_path(BUILT_IN.get(name, name))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not (isinstance(found, type) and issubclass(found, Network)):
        raise ConfigError(f"{name} is not a Network class")
    if not _is_complete(found):
        raise ConfigError(f"{name}: the class declares no name, types or routes")
    return found


def settings_of(name: str, value: Any) -> Any:
    """The settings of a network as its own Struct, from a mapping. Raises ConfigError.

    Configurations made by ``config.load`` have them so already.
    """
    if isinstance(value, msgspec.Struct):
        return value
    try:
        return msgspec.convert(value or {}, find(name).Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"networks.{name}: {error}") from None


def classes(networks: Mapping[str, Any]) -> dict[str, type[Network]]:
    """The classes of the networks that are on, by their names. Raises ConfigError."""
    found: dict[str, type[Network]] = {}
    for key in networks:
        try:
            network = find(key)
        except ConfigError as error:
            raise ConfigError(f"networks: {error}") from None
        if network.name in found:
            raise ConfigError(f"networks: {key}: there is a network {network.name!r} already")
        found[network.name] = network
    return found


def _is_complete(network: type[Network]) -> bool:
    return all(hasattr(network, part) for part in ("name", "types", "routes"))

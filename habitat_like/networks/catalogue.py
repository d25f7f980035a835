"""Catalogue: the networks that exist, and the settings of those that are on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import yaml

from habitat_like.config.file import YAML_ERRORS
from habitat_like.config.imports import import_path
from habitat_like.config.keys import ConfigError
from habitat_like.config.settings import convert
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
        raise ConfigError(f"there is no network {name!r}; {hint}", "networks")
    try:
        found = import_path(BUILT_IN.get(name, name))
    except ValueError as error:
        raise ConfigError(str(error), "networks") from None
    if not (isinstance(found, type) and issubclass(found, Network)):
        raise ConfigError(f"{name} is not a Network class", "networks")
    if not _is_complete(found):
        raise ConfigError(f"{name}: the class declares no name, types or routes", "networks")
    return found


def settings_of(key: str, value: Mapping[str, Any] | None) -> Any:
    """The settings of the network named ``key`` in the configuration. Raises ConfigError."""
    struct = find(key).Settings
    place = f"networks.{key}"
    try:
        return convert(_lists(key, value or {}, struct), struct, place)
    except ConfigError as error:
        hint = get_type_hints(struct).get(error.key.removeprefix(f"{place}."))
        if get_origin(hint) is not Literal:
            raise
        choices = ", ".join(map(str, get_args(hint)))
        raise ConfigError(f"{error.reason}; one of {choices}", error.key) from None


def _lists(key: str, given: Mapping[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The settings, with text accepted where a list is wanted: the environment has no lists.

    A mapping can be given there as YAML. Raises ConfigError.
    """
    hints = get_type_hints(struct)
    found = dict(given)
    for name, value in given.items():
        kind = get_origin(hints.get(name))
        if isinstance(value, str) and kind in (tuple, list, dict):
            try:
                tree = yaml.safe_load(value) if value[:1] in ("[", "{") else None
            except YAML_ERRORS:
                raise ConfigError("not a YAML list or mapping", f"networks.{key}.{name}") from None
            parts = [part.strip() for part in value.split(",") if part.strip()]
            found[name] = parts if tree is None else tree
    return found


def load(key: str, network: type[Network], settings: Any) -> Any:
    """What a network loads. Raises ConfigError, whatever an operator's own raises."""
    try:
        return network.load(settings)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{type(error).__name__}: {error}", f"networks.{key}") from error


def classes(networks: Mapping[str, Any]) -> dict[str, type[Network]]:
    """The classes of the networks that are on, by their names. Raises ConfigError."""
    found: dict[str, type[Network]] = {}
    for key in networks:
        network = find(key)
        if network.name in found:
            raise ConfigError(f"{key}: there is a network {network.name!r} already", "networks")
        found[network.name] = network
    return found


def _is_complete(network: type[Network]) -> bool:
    return all(hasattr(network, part) for part in ("name", "types", "routes"))

"""Networks: all the networks that are on, as the program uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from habitat_like.config.keys import Config, ConfigError
from habitat_like.disk import DIRECTORY_MODE
from habitat_like.http.actions import RESERVED
from habitat_like.networks import catalogue, stations
from habitat_like.networks.base import Network, Recipe
from habitat_like.networks.routes import Router, make_router
from habitat_like.networks.runner import Runner
from habitat_like.networks.stations import Gatekeeper, Stations
from habitat_like.statistics.status import NetworkStatus


class Prepared(NamedTuple):
    """What a configuration asks for, all of it read and checked."""

    classes: dict[str, type[Network]]
    settings: dict[str, Any]
    loaded: dict[str, Any]
    stations: Stations

    @property
    def types(self) -> dict[str, str]:
        """The message types that they make, with the reason why stations may not send them."""
        return types_of(self.classes.values())


class Networks:
    """The networks of one gateway. Made once; ``apply`` puts a new configuration in force.

    ``router`` and ``stations`` are replaced as a whole, so any thread may read them. Raises
    ConfigError.
    """

    def __init__(self, config: Config) -> None:
        self._gatekeeper = Gatekeeper()
        self._key: bytes | None = None
        self.stations = Stations(b"")
        self.runners: dict[str, Runner] = {}
        self.router = make_router(())
        self.apply(self.prepare(config))

    def prepare(self, config: Config) -> Prepared:
        """Read and check what ``config`` asks for; changes nothing. Raises ConfigError."""
        classes = catalogue.classes(config.networks)
        settings: dict[str, Any] = {}
        loaded: dict[str, Any] = {}
        for (key, value), (name, network) in zip(
            config.networks.items(), classes.items(), strict=True
        ):
            settings[name] = catalogue.settings_of(key, value)
            loaded[name] = catalogue.load(key, network, settings[name])
        entries = [] if config.stations is None else stations.read(config.stations)
        if self._key is None and (classes or entries):
            path = stations.key_path(config.journal.path)
            # The journal also creates it, but later.
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            self._key = stations.load_key(path)
        try:
            known = Stations(self._key or b"", entries)
        except ConfigError as error:
            raise error.at(str(config.stations)) from None
        prepared = Prepared(classes, settings, loaded, known)
        check_paths((self._run(name, prepared) for name in classes), config)
        return prepared

    def apply(self, prepared: Prepared) -> None:
        """Put it in force: networks that stay keep their state and counts."""
        runners = {}
        for name, network in prepared.classes.items():
            runner = self.runners.get(name)
            if runner is not None and type(runner.network) is network:
                runner.stations = prepared.stations
                runner.network.configure(prepared.settings[name], prepared.loaded[name])
            else:
                runner = self._run(name, prepared)
            runners[name] = runner
        self._gatekeeper.keep(prepared.stations)
        self.stations = prepared.stations
        self.runners = runners
        self.router = _route(runners.values())

    def _run(self, name: str, prepared: Prepared) -> Runner:
        """A new runner of a network."""
        network = prepared.classes[name](prepared.settings[name], prepared.loaded[name])
        return Runner(network, prepared.stations, self._gatekeeper)

    @property
    def types(self) -> dict[str, str]:
        """The message types that they make, with the reason why stations may not send them."""
        return types_of(type(runner.network) for runner in list(self.runners.values()))

    def counts(self) -> dict[str, NetworkStatus]:
        """What each counted since the start, without its own status."""
        return {name: runner.counts.snapshot({}) for name, runner in list(self.runners.items())}

    def status(self, now: float) -> dict[str, NetworkStatus]:
        """What ``/status`` shows of each; ``now`` is in UNIX seconds."""
        return {
            name: runner.counts.snapshot(runner.network.status(now))
            for name, runner in list(self.runners.items())
        }

    def metrics(self, status: Mapping[str, NetworkStatus]) -> Iterator[Any]:
        """The Prometheus metrics specific to single networks."""
        for name, runner in list(self.runners.items()):
            if name in status:
                yield from runner.network.metrics(status[name].own)

    def recipes(self, host: str) -> dict[str, tuple[Recipe, ...]]:
        """How to point devices of each network at this server, which they know as ``host``."""
        return {name: one.network.recipes(host) for name, one in list(self.runners.items())}


def check_paths(runners: Iterable[Runner], config: Config) -> None:
    """Raises ConfigError for a path that two networks have, or a network and an action."""
    taken = {one.rpartition(".")[2] for one in config.gateway.actions} | RESERVED - {""}
    for way, action in _route(runners).ways:
        if way.first in taken:
            text = f"the path /{way.first} of the network {action.name} is taken"
            raise ConfigError(text, "networks")


def _route(runners: Iterable[Runner]) -> Router:
    try:
        return make_router(runners)
    except ValueError as error:
        raise ConfigError(str(error), "networks") from None


def types_of(classes: Iterable[type[Network]]) -> dict[str, str]:
    """The message types of networks, with the reason why stations may not send them."""
    reason = "is made from uploads of the network {}; stations may not send it"
    return {name: reason.format(one.name) for one in classes for name in one.types}

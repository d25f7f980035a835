"""Networks in the configuration: turned on by name, and checked like any key."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from habitat_like import config as configuration
from habitat_like.config.keys import ConfigError
from habitat_like.networks.networks import Networks
from tests.conftest import HabitatFactory
from tests.support.log import logged
from tests.support.wait import eventually

QUERY = "/data/?ID=X1&tempf=1&dateutc=2026-11-20+10:15:30"


def networks(tmp_path: Path, text: str, **environ: str) -> Networks:
    """The networks of a configuration file. Raises ConfigError as the program tells it."""
    path = tmp_path / "config.yml"
    path.write_text(f"journal: {{path: {tmp_path}/journal.sqlite}}\n{text}")
    try:
        return Networks(configuration.load(str(path), environ))
    except ConfigError as error:
        raise error.at(configuration.file.origin(error.key, str(path), environ)) from None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("networks: {wether: {}}", "there is no network 'wether'; did you mean 'weather'?"),
        ("networks: {weather: {unknwon: accept}}", "weather.unknwon'; did you mean 'unknown'"),
        ("networks: {weather: {unknown: maybe}}", "'maybe'; one of accept, suspicious, refuse"),
        ("networks: {weather: 5}", "networks.weather: expected settings, {} for none"),
        ("networks: [weather]", "networks: expected the name of each network with its settings"),
        ("networks: {hisparc: {}}", "networks.hisparc: Object missing required field"),
        ("networks: {hisparc: {station_list: none.csv}}", "hisparc.station_list: none.csv: "),
        ("networks: {nowhere.Thing: {}}", "networks: nowhere.Thing: ModuleNotFoundError"),
        ("networks: {pathlib.Path: {}}", "networks: pathlib.Path is not a Network class"),
        (
            "networks: {weather: {}, habitat_like.networks.weather.Weather: {}}",
            "there is a network 'weather' already",
        ),
        ("hisparc: {station_list: x}", "write networks.hisparc.station_list"),
        ("weather: {}", "unknown key 'weather'; networks have a section: write networks.weather"),
        ("stations: none.yml", "none.yml: No such file or directory"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_the_nearest_right_name(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        networks(tmp_path, text)
    line = str(caught.value).replace("`", "")
    assert why.replace("`", "") in line
    assert "\n" not in line
    assert line.startswith(str(tmp_path)) or "none.yml" in line


def test_the_environment_overrides_a_networks_key(tmp_path: Path) -> None:
    text = "networks: {weather: , influx: {unknown: refuse}}"
    made = networks(
        tmp_path,
        text,
        HABITAT_NETWORKS_WEATHER_UNKNOWN="suspicious",
        HABITAT_NETWORKS_INFLUX_TAGS="device, host",
    )
    assert made.runners["weather"].network.settings.unknown == "suspicious"
    assert made.runners["influx"].network.settings.unknown == "refuse"
    assert list(made.runners["influx"].network.settings.tags) == ["device", "host"]
    with pytest.raises(ConfigError) as caught:
        networks(tmp_path, text, HABITAT_NETWORKS_WEATHER_UNKNOWN="perhaps")
    assert str(caught.value).startswith(
        "environment variable HABITAT_NETWORKS_WEATHER_UNKNOWN: networks.weather.unknown: "
    )
    with pytest.raises(ConfigError, match=r"networks\.influx\.tags: not a YAML list"):
        networks(tmp_path, text, HABITAT_NETWORKS_INFLUX_TAGS="[device")
    made = networks(tmp_path, "", HABITAT_NETWORKS="{airrohr: {unknown: refuse}}")
    assert list(made.runners) == ["airrohr"]


def test_a_variable_of_a_network_that_is_off_overrides_nothing(tmp_path: Path) -> None:
    environ = {"HABITAT_NETWORKS_WEATHER_UNKNOWN": "refuse"}
    path = tmp_path / "config.yml"
    path.write_text("networks: {airrohr: {}}")
    config = configuration.load(str(path), environ)
    assert config.networks == {"airrohr": {}}
    (line,) = configuration.unknown_environment(environ, config)
    assert "HABITAT_NETWORKS_WEATHER_UNKNOWN overrides no key" in line
    on = configuration.load(str(path), {"HABITAT_NETWORKS": "{weather: {}}"})
    assert configuration.unknown_environment(environ, on) == []


def test_nothing_is_on_by_default_and_a_reload_turns_on_and_off(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("GET", QUERY).status == 404
    assert not (gateway.directory / "identity.key").exists()

    def reload(**config: Any) -> None:
        gateway.config["networks"] = config
        gateway.write_config()
        before = len(logged(gateway, "configuration reloaded"))
        gateway.signal(signal.SIGHUP)
        eventually(lambda: len(logged(gateway, "configuration reloaded")) > before, "reloaded")

    reload(weather={})
    assert gateway.scgi("GET", QUERY).status == 200
    assert "GET POST /data/*" in gateway.scgi("GET", "/").text
    reload(weather={"unknown": "refuse"}, airrohr={})
    assert gateway.scgi("GET", QUERY).status == 401
    # What was counted stays.
    assert gateway.status()["networks"]["weather"]["observations"] == {"WEATHER": 1}
    reload()
    assert gateway.scgi("GET", QUERY).status == 404
    assert gateway.status()["networks"] == {}


def test_types_of_networks_are_refused_from_stations(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"sondehub": {}}})
    for name in ("AMATEUR_TELEM", "WEATHER", "EVENT"):
        body = (
            f'{{"callsign": "X", "type": "{name}", "time_created": 1, "time_uploaded": 1,'
            ' "data": {}}'
        )
        reply = gateway.scgi("POST", "/message", body)
        assert reply.status == 400
        assert reply.text.startswith(f"type: {name} is made from uploads of ")
    # Stations' own types can also come in by a network.
    body = (
        '{"callsign": "X", "type": "LISTENER_INFO", "time_created": 1, "time_uploaded": 1,'
        ' "data": {"name": "x"}}'
    )
    assert gateway.scgi("POST", "/message", body).status == 200


def test_an_action_of_an_operators_own_keeps_its_path(habitat: HabitatFactory) -> None:
    own = "def data(application, ip, args): return 'own'\n"
    gateway = habitat(
        {"gateway": {"actions": ["message", "own.data"]}, "networks": {"weather": {}}},
        own=own,
        start=False,
    )
    assert gateway.start(ready=False).wait() == 2
    assert "networks: the path /data of the network weather is taken" in gateway.log

"""Who is who: the stations file, secret identities, secrets, and ``habitat station``."""

from __future__ import annotations

import json
import re
import signal
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.config.keys import ConfigError
from habitat_like.message.message import to_callsign
from habitat_like.networks import stations
from habitat_like.networks.stations import Station, Stations
from tests.conftest import HabitatFactory
from tests.support.cli import fails
from tests.support.gateway import Habitat
from tests.support.log import wait_for_log

KEY = bytes(range(32))
PASSKEY = "0123456789ABCDEF0123456789ABCDEF"
ECOWITT = f"PASSKEY={PASSKEY}&tempf=41.5&dateutc=2026-11-20+10:15:%d"
UNDERGROUND = "/weatherstation/updateweatherstation.php"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def parse(*entries: dict[str, Any]) -> list[Station]:
    return stations.parse(yaml.safe_dump(list(entries)), "stations.yml")


# -- the file


def test_an_entry_is_found_by_its_identity_in_any_case_and_by_its_hash() -> None:
    plain = Stations(KEY, parse({"network": "weather", "identity": "ITESTV1", "callsign": "A1"}))
    found = plain.find("weather", "itestv1")
    assert found is not None
    assert found.callsign == "A1"
    assert plain.find("airrohr", "ITESTV1") is None
    assert plain.find("weather", "ITESTV2") is None
    hashed = plain.hash("weather", PASSKEY)
    for digits in (12, 20, 32):
        known = Stations(
            KEY,
            parse(
                {"network": "weather", "identity_hash": hashed[:digits].upper(), "callsign": "B"}
            ),
        )
        assert known.find("weather", PASSKEY.lower()) is not None
    other = hashed[:12] + "0" * 20
    known = Stations(KEY, parse({"network": "weather", "identity_hash": other, "callsign": "B"}))
    assert known.find("weather", PASSKEY) is None


def test_values_are_text_whatever_they_look_like() -> None:
    text = (
        "- {network: rockblock, identity: 0300234010000000, callsign: A}\n"
        "- {network: weather, identity: 11:22:33:44:55:06, callsign: 12e5}\n"
        "- {network: osmand, identity: 0123, callsign: C, latitude: 51.98, longitude: -5}\n"
        "- {network: osmand, identity: null, callsign: no, secret: ''}\n"
    )
    found = stations.parse(text, "x")
    assert [one.identity for one in found] == [
        "0300234010000000",
        "11:22:33:44:55:06",
        "0123",
        "null",
    ]
    assert found[1].callsign == "12e5"
    assert (found[2].latitude, found[2].longitude) == (51.98, -5)
    assert found[3].secret is None
    assert stations.parse("", "x") == stations.parse("# nobody yet\n", "x") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b", "expected a list of stations"),
        ("- weather", "entry 1: expected network, identity and callsign"),
        (
            "- {network: w, identity: i, callsign: C, pasword: s}",
            "entry 1: unknown field 'pasword'",
        ),
        ("- {identity: i, callsign: C}", "missing required field network"),
        ("- {network: w, callsign: C}", "entry 1: give either identity or identity_hash"),
        ("- {network: w, identity: i, identity_hash: 0123456789ab, callsign: C}", "give either"),
        ("- {network: w, identity_hash: xyz, callsign: C}", "identity_hash"),
        ("- {network: w, identity: i, callsign: C D}", "callsign"),
        ("- {network: w, identity: i, callsign: C, latitude: 91, longitude: 0}", "latitude"),
        ("- {network: w, identity: i, callsign: C, latitude: 5}", "latitude and longitude"),
        ("- {network: w, identity: i, callsign: C, secret: scrypt$1}", "hash is broken"),
        ("- {network: w, network: x, identity: i, callsign: C}", "appears twice"),
        ("- [", "line 1"),
    ],
)
def test_a_mistake_is_one_line_without_a_secret(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stations.parse(text, "stations.yml")
    assert str(caught.value).startswith("stations.yml")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "scrypt" not in str(caught.value)


def test_two_entries_with_one_identity_are_refused() -> None:
    twice = parse(
        {"network": "weather", "identity": "A", "callsign": "A"},
        {"network": "osmand", "identity": "A", "callsign": "A"},
        {"network": "weather", "identity": "a", "callsign": "B"},
    )
    with pytest.raises(ConfigError, match="entry 3: an entry before it has the same identity"):
        Stations(KEY, twice)


@given(st.text(max_size=200))
def test_whatever_a_station_calls_itself_becomes_a_callsign(text: str) -> None:
    callsign = to_callsign(text)
    assert callsign == "" or re.fullmatch("[A-Z0-9/_-]{1,64}", callsign)
    assert len(callsign) <= 64
    assert callsign == callsign.upper()
    assert (callsign == "") == (text.strip() == "")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_file_or_one_line_of_error(data: bytes) -> None:
    line = ""
    try:
        stations.parse(data.decode("latin-1"), "x")
    except ConfigError as error:
        line = str(error)
    assert "\n" not in line


# -- a gateway


def weather(gateway: Habitat, body: str, path: str = "/data/report/") -> int:
    return gateway.scgi("POST", path, body, FORM).status


def archived(gateway: Habitat) -> list[dict[str, Any]]:
    """What is archived, suspicious or not, in the order of the stations' times."""
    gateway.wait_until_archived()
    done = gateway.cli("query", "--format", "ndjson", "--suspicious")
    assert done.returncode == 0, done.stderr
    return sorted(map(json.loads, done.stdout.splitlines()), key=lambda one: str(one["_id"]))


def listed(gateway: Habitat, *entries: dict[str, Any]) -> Path:
    path = gateway.directory / "stations.yml"
    path.write_text(yaml.safe_dump(list(entries)))
    gateway.config["stations"] = str(path)
    return path


def test_a_secret_identity_has_a_callsign_of_its_own_that_stays(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {}}})
    assert weather(gateway, ECOWITT % 30) == 200
    assert gateway.restart()
    assert weather(gateway, ECOWITT % 31) == 200
    first, second = archived(gateway)
    assert first["callsign"] == second["callsign"]
    assert first["callsign"].startswith("WEATHER-")
    assert len(first["callsign"]) == len("WEATHER-") + 12
    key = gateway.directory / "identity.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in json.dumps(gateway.status())
    # Another key, another callsign: the secret alone tells nobody which one it is.
    key.unlink()
    gateway.restart()
    assert weather(gateway, ECOWITT % 32) == 200
    assert archived(gateway)[-1]["callsign"] != first["callsign"]


def test_a_key_that_is_none_stops_the_start(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {}}}, start=False)
    (gateway.directory / "identity.key").write_text("not hex\n")
    assert gateway.start(ready=False).wait() == 2
    assert "identity.key: not a key of 32 bytes in hex; put it back" in gateway.log


def test_the_key_is_made_once_whoever_comes_at_the_same_moment(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / str(number) / "identity.key"
        path.parent.mkdir()
        with ThreadPoolExecutor(8) as pool:
            ready = threading.Barrier(8)

            def load(path: Path = path, ready: threading.Barrier = ready) -> bytes:
                ready.wait()
                return stations.load_key(path)

            loaded = {one.result() for one in [pool.submit(load) for _ in range(8)]}
        assert loaded == {bytes.fromhex(path.read_text())}
        assert [one.name for one in path.parent.iterdir()] == ["identity.key"]


def test_the_file_gives_callsign_and_position_and_is_read_again(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {}, "airrohr": {}}}, start=False)
    place = {"latitude": 51.98, "longitude": 5.11, "altitude": 12.5}
    path = listed(
        gateway, {"network": "weather", "identity": PASSKEY, "callsign": "m0zdr", **place}
    )
    gateway.start()
    assert weather(gateway, ECOWITT % 30) == 200
    path.write_text(yaml.safe_dump([{"network": "weather", "identity": PASSKEY, "callsign": "B"}]))
    gateway.signal(signal.SIGHUP)
    wait_for_log(gateway, "configuration reloaded")
    assert weather(gateway, ECOWITT % 31) == 200
    path.write_text("- {network: weather}\n")
    gateway.signal(signal.SIGHUP)
    (entry,) = wait_for_log(gateway, "reload refused")
    assert f"{path}: entry 1: " in entry["why"]
    assert weather(gateway, ECOWITT % 32) == 200
    first, *later = archived(gateway)
    assert first["callsign"] == "M0ZDR"
    assert first["data"]["position"] == place
    assert "uploader" not in first["data"]
    assert [one["callsign"] for one in later] == ["B", "B"]


@pytest.mark.parametrize("stored", ["clear", "hashed"])
def test_a_secret_is_compared(habitat: HabitatFactory, stored: str) -> None:
    gateway = habitat({"networks": {"weather": {}}}, start=False)
    secret = "wörd"
    if stored == "hashed":
        secret = gateway.cli("station", "hash", stdin="wörd\n").stdout.strip()
    listed(
        gateway,
        {"network": "weather", "identity": "ITESTV1", "callsign": "A", "secret": secret},
    )
    gateway.start()
    query = "ID=ITESTV1&PASSWORD={}&tempf=41.5&dateutc=2026-11-20+10:15:30"
    for password, status in (
        ("no", 401),
        ("", 401),
        ("w%C3%B6rd", 200),
        ("w%C3%B6rd2", 401),
        ("w%C3%B6rd", 200),
    ):
        reply = gateway.scgi("GET", UNDERGROUND, params={"QUERY_STRING": query.format(password)})
        assert reply.status == status, password
        assert reply.body == (b"success\n" if status == 200 else b"INVALIDPASSWORDID\n")
    counts = gateway.status()["networks"]["weather"]
    assert counts["refused"] == {"wrong_key": 3}
    assert counts["last_problem"]["text"] == "wrong key of A"
    assert "wörd" not in gateway.log


def test_unknown_stations_are_accepted_suspicious_or_refused(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {"unknown": "suspicious"}}}, start=False)
    listed(gateway, {"network": "weather", "identity": "known", "callsign": "KNOWN"})
    gateway.start()
    query = "/data/?ID={}&tempf=1&dateutc=2026-11-20+10:15:30"
    assert gateway.scgi("GET", query.format("known")).status == 200
    assert gateway.scgi("GET", query.format("other")).status == 200
    gateway.config["networks"]["weather"]["unknown"] = "refuse"
    gateway.restart()
    assert gateway.scgi("GET", query.format("known")).status == 200
    assert gateway.scgi("GET", query.format("third")).status == 401
    known, other = sorted(archived(gateway), key=lambda one: str(one["callsign"]))
    assert "suspicious" not in known
    assert other["suspicious"] == "the station is not in the stations file"


# -- habitat station


def test_add_ls_and_rm_keep_the_file(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {}, "airrohr": {}}}, start=False)
    path = gateway.directory / "stations.yml"
    gateway.config["stations"] = str(path)
    gateway.write_config()
    add = ("station", "add", "--network")
    done = gateway.cli(
        *add, "airrohr", "--identity", "esp8266-1234567", "--callsign", "BAKERY", "--name", "Bäcker"
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("# ours\n" + path.read_text() + "# and more\n")
    done = gateway.cli(
        *add, "weather", "--identity", "-", "--callsign", "M0ZDR", "--secret", "hush",
        "--latitude", "51.98", "--longitude", "5.11", stdin=f"{PASSKEY}\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert PASSKEY not in text
    assert "hush" not in text
    assert text.startswith("# ours\n")
    assert "# and more" in text
    shown = gateway.cli("station", "ls", "--json")
    assert shown.returncode == 0, shown.stderr
    first, second = json.loads(shown.stdout)
    assert (first["network"], first["callsign"], first["name"]) == ("airrohr", "BAKERY", "Bäcker")
    assert (second["callsign"], second["secret"], second["latitude"]) == ("M0ZDR", True, 51.98)
    hashed = gateway.cli("station", "hash", "--network", "weather", stdin=PASSKEY).stdout.strip()
    assert hashed.startswith(second["identity_hash"])
    assert "M0ZDR" in gateway.cli("station", "ls").stdout
    # The gateway knows it.
    gateway.start()
    assert weather(gateway, ECOWITT % 30) == 401
    gateway.cli("station", "rm", "m0zdr")
    text = path.read_text()
    assert "M0ZDR" not in text
    assert text.startswith("# ours\n")
    assert "# and more" in text
    assert "BAKERY" in text
    assert gateway.cli("station", "rm", "M0ZDR").returncode == 1
    assert gateway.cli("station", "rm", "BAKERY", "--network", "weather").returncode == 1
    assert gateway.cli("station", "rm", "BAKERY", "--network", "airrohr").returncode == 0
    assert gateway.cli("station", "ls", "--json").stdout.strip() == "[]"
    assert gateway.cli("station", "check", str(path)).stdout == "0 stations of 0 networks\n"


def test_add_refuses_what_can_not_be(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {}}, start=False)
    gateway.write_config()
    add = ("station", "add", "--network", "airrohr", "--callsign", "A")
    fails(gateway.cli(*add, "--identity", "x"), 2, "the key stations is not set")
    path = listed(gateway, {"network": "airrohr", "identity": "one", "callsign": "A"})
    gateway.write_config()
    before = path.read_text()
    fails(gateway.cli(*add), 2, "either --identity or --identity-hash")
    fails(gateway.cli(*add, "--identity", "ONE"), 2, "already has a station with this identity")
    fails(gateway.cli(*add, "--identity", "x", "--latitude", "5"), 2, "latitude and longitude")
    fails(gateway.cli(*add[:3], "airor", *add[4:], "--identity", "x"), 2, "did you mean 'airrohr'")
    fails(gateway.cli(*add[:3], "hisparc", *add[4:], "--identity", "x"), 2, "its own list")
    fails(gateway.cli(*add[:5], "A B", "--identity", "x"), 2, "callsign")
    assert path.read_text() == before


def test_habitat_check_looks_at_the_file(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"weather": {}}}, start=False)
    path = listed(gateway, {"network": "airrohr", "identity": "one", "callsign": "A"})
    path.chmod(0o644)
    done = gateway.cli("check")
    assert f"stations: 1 stations in {path}" in done.stdout
    assert "networks that are off have entries: airrohr" in done.stdout
    assert "networks.weather: accepts uploads to /weatherstation/*" in done.stdout
    path.write_text("- {network: weather}\n")
    done = gateway.cli("check")
    assert done.returncode == 2
    assert "entry 1: " in done.stdout

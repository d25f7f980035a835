"""POST /upload, through a real nginx: the codes, their order, and what becomes of an upload."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.networks.hisparc import attacks
from tests.networks.hisparc.support import (
    FORM,
    MOMENT,
    Network,
    as_bytes,
    as_utf8,
    event,
    fields,
    run_station,
)
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.log import log_entries, wait_for_log
from tests.support.net import ROOT
from tests.support.nginx import Nginx
from tests.support.wait import away_from_midnight, eventually

NOW = datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)


def python2() -> str | None:
    """A Python 2.7 that starts."""
    found = [shutil.which("python2.7"), shutil.which("python2")]
    found += [str(path) for path in Path.home().glob(".pyenv/versions/2.7*/bin/python2.7")]
    for path in found:
        if (
            path
            and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return path
    return None


@pytest.fixture(scope="module")
def site() -> Iterator[Network]:
    """A gateway behind nginx that many tests share."""
    gateway = Habitat()
    made = Network(gateway)
    made.front = Nginx(gateway)
    try:
        gateway.start()
        made.front.start()
        yield made
    finally:
        made.front.close()
        gateway.close()


@pytest.fixture
def network(habitat: HabitatFactory) -> Network:
    """A gateway of a test's own, not yet started and without nginx."""
    return Network(habitat(start=False))


# -- real stations


@pytest.mark.parametrize(
    ("python", "protocol"),
    [("2.7", 0), ("2.7", 1), ("2.7", 2), *(("3", number) for number in range(6))],
)
def test_what_a_real_station_uploads_is_in_couchdb_equal_in_every_value(
    python: str,
    protocol: int,
    habitat: HabitatFactory,
    nginx: NginxFactory,
    couch: CouchServer,
    database: str,
) -> None:
    program = python2() if python == "2.7" else sys.executable
    if program is None:
        pytest.skip("there is no Python 2.7 here; recorded pickles of it are tested all the same")
    gateway = habitat({"archive": {"uri": couch.uri(database)}}, start=False)
    made = Network(gateway)
    gateway.start()
    url = f"{nginx(gateway).url}/upload"
    assert run_station("upload", url, protocol, 501, "secret", python=program) == "100"
    expected = json.loads(run_station("expected", python=program))
    eventually(lambda: gateway.status()["archive"]["messages"] == len(expected), "it is archived")
    documents = couch.all_docs(database)
    found = {}
    for document in documents:
        data = document["data"]
        assert (data["station"], data["cluster"]) == (501, "amsterdam")
        assert (document["type"], document["callsign"]) == ("HISPARC_EVENT", "501")
        assert (document["ip"], document["gateway"]) == ("127.0.0.1", "test")
        assert document["_id"].startswith(f"{document['time_created']:010d}-")
        found[data["eventtype"]] = {
            "time_created": document["time_created"],
            **{key: data[key] for key in ("eventtype", "datetime", "nanoseconds", "values")},
        }
    assert found == {one["eventtype"]: one for one in expected}
    # And a retry is no second event.
    assert run_station("upload", url, protocol, 501, "secret", python=program) == "100"
    assert len(made.archived()) == len(expected)


@pytest.mark.parametrize("encode", [as_utf8, as_bytes])
def test_both_ways_to_encode_bytes_are_understood(site: Network, encode: Any) -> None:
    raw = bytes(range(256))
    form = fields([event(7, CFG_BUFFER=raw)], protocol=4)
    assert site.code(encode(form)) == "100"
    documents = site.archived("--callsign", "501")
    values = [one["data"]["values"] for one in documents if one["data"]["nanoseconds"] == 7]
    assert values == [{"CFG_BUFFER": base64.b64encode(raw).decode()}]


def test_stations_go_on_with_the_path_of_the_datastore(
    network: Network, nginx: NginxFactory
) -> None:
    """With the lines of nginx's configuration that docs/hisparc.md gives."""
    page = (ROOT / "docs" / "hisparc.md").read_text()
    block = re.search(r"```nginx\n(.*?)```", page, re.S)
    assert block
    front = nginx(network.gateway.start(), in_server=block[1])
    assert run_station("upload", f"{front.url}/hisparc/upload", 2, 501, "secret") == "100"
    # Over nginx's own limit for a location that sets none, and under gateway.max_body.
    body = as_utf8(fields([event(1)])) + b"&padding=" + b"x" * (1_048_576 - 1000)
    assert front.request("POST", "/hisparc/upload", body, FORM).text == "100"
    reply = front.request("POST", "/hisparc/upload", body + b"x" * 2000, FORM)
    assert (reply.status, reply.text.startswith("body: ")) == (413, True)


# -- the codes


def form_without(name: str) -> bytes:
    return as_utf8({key: value for key, value in fields([event()]).items() if key != name})


GOOD = fields([event()])


@pytest.mark.parametrize(
    "body",
    [
        *(form_without(name) for name in GOOD),
        *(as_utf8(GOOD) + f"&{name}=1".encode() for name in GOOD),
        as_utf8({**GOOD, "station_id": "abc"}),
        as_utf8({**GOOD, "station_id": ""}),
        as_utf8({**GOOD, "station_id": "5.0"}),
        as_utf8({**GOOD, "station_id": "5_0"}),
        b"",
        b"{}",
        b"\x00\xff" * 100,
        b"&" * 100_000,
        b"=&" * 100_000,
    ],
)
def test_400_is_for_what_is_not_the_form(site: Network, body: bytes) -> None:
    assert site.code(body) == "400"


def test_other_fields_are_ignored(site: Network) -> None:
    assert site.code(as_utf8({"version": "1", **GOOD})) == "100"


@pytest.mark.parametrize("station", [1, -501, 0, 10**17, 10**40])
def test_206_is_for_an_unknown_station(site: Network, station: int) -> None:
    assert site.code(fields([event()], station)) == "206"


@pytest.mark.parametrize("password", ["", "Secret", "secret ", "geheim", "x" * 10_000])
def test_203_is_for_a_wrong_password(site: Network, password: str) -> None:
    assert site.code(fields([event()], password=password)) == "203"


@pytest.mark.parametrize("checksum", ["", "0" * 32, "secret", "\u2603"])
def test_201_is_for_a_wrong_checksum(site: Network, checksum: str) -> None:
    assert site.code({**GOOD, "checksum": checksum}) == "201"


def test_a_checksum_in_capitals_is_right(site: Network) -> None:
    assert site.code({**GOOD, "checksum": GOOD["checksum"].upper()}) == "100"


BAD_EVENTS: dict[str, Any] = {
    "no header": [{"datalist": []}],
    "no datalist": [{"header": event()["header"]}],
    "no datetime": [{**event(), "header": {"eventtype_uploadcode": "CIC", "nanoseconds": 0}}],
    "a datetime as text": [{**event(), "header": {**event()["header"], "datetime": "2026"}}],
    "no nanoseconds": [{**event(), "header": {"eventtype_uploadcode": "CIC", "datetime": MOMENT}}],
    "nanoseconds as a float": [{**event(), "header": {**event()["header"], "nanoseconds": 1.0}}],
    "an event type of another kind": [
        {**event(), "header": {**event()["header"], "eventtype_uploadcode": "C IC"}}
    ],
    "a value twice": [{**event(), "datalist": [{"data_uploadcode": "PH1", "data": 1}] * 2}],
    "a value without data": [{**event(), "datalist": [{"data_uploadcode": "PH1"}]}],
    "a list as a value": [event(PH1=[1, 2])],
    "an integer over 64 bits": [event(PH1=2**64)],
    "a lone surrogate": [event(ERRMSG="\ud800")],
    "one bad event among good ones": [event(1), event(2, PH1={}), event(3)],
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_208_is_for_what_is_no_event_list_and_then_nothing_is_taken(
    site: Network, name: str
) -> None:
    before = site.written()
    assert site.code(fields(BAD_EVENTS[name], protocol=4)) == "208"
    assert site.written() == before


def test_attacks_are_answered_208_and_nothing_comes_of_them(network: Network) -> None:
    gateway = network.gateway.start()
    assert network.code(fields([event()])) == "100"
    # All files and threads are there, and what the first event took is done.
    gateway.wait_until_archived()
    eventually(lambda: gateway.status()["statistics"]["behind"] == 0, "all is counted")

    def traces() -> tuple[set[str], str, int, set[str]]:
        names = {path.name for path in gateway.directory.iterdir()}
        children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
        sockets = Path(f"/proc/{gateway.pid}/fd")
        count = sum(os.readlink(one).startswith("socket:") for one in sockets.iterdir())
        return names, children, count, set(gateway.threads())

    before = traces()
    for name, data in attacks.ALL.items():
        if len(data) < 300_000:  # larger ones are over gateway.max_body once encoded
            assert network.code(as_bytes(fields(data))) == "208", name
    eventually(lambda: traces() == before, "all is as it was")
    assert network.written() == 1
    assert not [entry for entry in log_entries(gateway) if "exception" in entry]


def test_the_checks_come_in_the_order_of_the_protocol(site: Network) -> None:
    """Each upload has all the faults that are checked later, too."""
    bad = {"station_id": "1", "password": "wrong", "checksum": "wrong", "data": "no pickle"}
    assert site.code({**bad, "station_id": "one"}) == "400"
    assert site.code({key: bad[key] for key in ("station_id", "password", "data")}) == "400"
    assert site.code(bad) == "206"
    assert site.code({**bad, "station_id": "502"}) == "203"
    assert site.code({**bad, "station_id": "502", "password": "geheim"}) == "201"
    assert site.code(fields(b"no pickle", 502, "geheim")) == "208"
    assert site.code(fields([event()], 502, "geheim")) == "100"


def test_only_post_is_an_upload(site: Network) -> None:
    assert site.front is not None
    assert site.front.request("GET", "/upload").status == 405


def test_without_a_station_list_there_is_no_such_action(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/upload", as_utf8(GOOD)).status == 404
    assert "/upload" not in gateway.scgi("GET", "/").text
    assert gateway.status()["networks"] == {}


# -- what becomes of an upload


def test_the_time_of_an_event_is_gps_time(site: Network) -> None:
    moment = datetime.datetime(2026, 5, 6, 0, 0, 17)
    assert site.code(fields([event(1, moment)], 502, "geheim")) == "100"
    documents = site.archived("--callsign", "502")
    (found,) = [one for one in documents if one["data"]["datetime"] == moment.isoformat()]
    assert (
        found["time_created"]
        == datetime.datetime(2026, 5, 5, 23, 59, 59, tzinfo=datetime.UTC).timestamp()
    )
    assert abs(found["time_uploaded"] - NOW.replace(tzinfo=datetime.UTC).timestamp()) < 3600


def test_an_upload_of_a_hundred_events_is_one_commit(network: Network) -> None:
    gateway = network.gateway.start()
    before = commits(gateway)
    assert network.code(fields([event(number) for number in range(100)])) == "100"
    assert commits(gateway) == before + 1
    assert network.written() == 100


def commits(gateway: Habitat) -> int:
    text = gateway.scgi("GET", "/metrics").text
    found = re.search(r"^habitat_journal_commit_seconds_count (\d+)", text, re.M)
    assert found
    return int(found[1])


def test_a_retry_and_the_same_event_in_another_upload_are_no_second_event(
    network: Network,
) -> None:
    network.gateway.start()
    first = [event(1), event(2)]
    assert network.code(fields(first)) == "100"
    network.gateway.restart()  # the gateway forgets recent ids
    assert network.code(fields(first, protocol=0)) == "100"
    assert network.code(fields([event(2), event(3)])) == "100"
    assert len(network.archived()) == 3


def test_an_empty_list_is_an_upload_of_nothing(site: Network) -> None:
    before = site.written()
    assert site.code(fields([])) == "100"
    assert site.written() == before


def test_what_was_answered_100_survives_kill_9(network: Network) -> None:
    network.gateway.config["archive"]["uri"] = "couchdb://127.0.0.1:9/nowhere"
    network.gateway.start()
    assert network.code(fields([event(number) for number in range(70)])) == "100"
    network.gateway.kill()
    with sqlite3.connect(network.gateway.journal_path) as journal:
        assert journal.execute("SELECT count(*) FROM message").fetchone() == (70,)


def test_an_upload_for_which_there_is_no_room_is_answered_503_and_taken_whole_later(
    network: Network,
) -> None:
    network.gateway.config["journal"]["max_backlog"] = 50
    network.gateway.config["archive"]["uri"] = "couchdb://127.0.0.1:9/nowhere"
    network.gateway.start()
    upload = fields([event(number) for number in range(51)])
    reply = network.post(upload)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert network.written() == 0
    facts = network.gateway.status()["networks"]["hisparc"]["own"]
    assert (facts["events"], facts["stations"]) == (0, {})
    network.gateway.config["journal"]["max_backlog"] = 51
    network.gateway.restart()
    assert network.code(upload) == "100"
    assert network.written() == 51


def test_stations_can_t_send_the_type_as_a_message(site: Network) -> None:
    body = json.dumps(
        {
            "callsign": "501",
            "type": "HISPARC_EVENT",
            "time_created": 1,
            "time_uploaded": 1,
            "data": {},
        }
    )
    reply = site.gateway.scgi("POST", "/message", body)
    assert (reply.status, reply.text.startswith("type: HISPARC_EVENT is made")) == (400, True)


# -- suspicious data

#: Dates that can't be right, and what usually makes them.
SUSPICIOUS = {
    "no fix: the epoch of GPS": datetime.datetime(1980, 1, 6, 0, 0, 1),
    "no fix: the receiver's default": datetime.datetime(2019, 4, 7, 0, 0, 5),
    "the 1024 weeks before the rollover": MOMENT - datetime.timedelta(weeks=1024),
    "the year 1": datetime.datetime(1, 1, 1),
    "the day after tomorrow": NOW + datetime.timedelta(days=2),
    "the end of time": datetime.datetime(9999, 12, 31, 23, 59, 59),
}


@pytest.mark.parametrize("store", ["sqlite", "couchdb"])
def test_suspicious_events_are_kept_and_kept_apart(
    store: str, network: Network, request: pytest.FixtureRequest
) -> None:
    if store == "couchdb":
        server: CouchServer = request.getfixturevalue("couch")
        network.gateway.config["archive"]["uri"] = server.uri(request.getfixturevalue("database"))
    gateway = network.gateway.start()
    upload = [event(number, moment) for number, moment in enumerate(SUSPICIOUS.values())]
    upload += [event(10), event(11, NOW + datetime.timedelta(hours=23))]
    assert network.code(fields(upload)) == "100"
    found = network.archived()
    assert [one["data"]["nanoseconds"] for one in found] == [10, 11]
    assert not any("suspicious" in one for one in found)
    everything = network.archived("--suspicious")
    reasons = {one["data"]["nanoseconds"]: one.get("suspicious") for one in everything}
    assert reasons == {
        0: "dated 1980-01-06, before 2020",
        1: "dated 2019-04-07, before 2020",
        2: "dated 2006-07-19, before 2020",
        3: "dated 0001-01-01, before 2020",
        4: f"dated {(NOW + datetime.timedelta(days=2)).date()}, more than a day after it came in",
        5: "dated 9999-12-31, more than a day after it came in",
        10: None,
        11: None,
    }
    assert len({one["_id"] for one in everything}) == 8
    # A page, an index, a limit: each as without the mark.
    assert len(network.archived("--callsign", "501", "--limit", "1")) == 1
    assert len(network.archived("--type", "HISPARC_EVENT", "--suspicious")) == 8
    assert network.archived("--callsign", "501", "--until", "2019-12-31") == []
    facts = gateway.status()["networks"]["hisparc"]["own"]
    assert (facts["events"], facts["suspicious"]) == (8, 6)
    assert "hisparc: 1 requests, 8 HISPARC_EVENT, 6 suspicious\n" in gateway.cli("status").stdout
    assert "\nhabitat_hisparc_suspicious_total 6.0\n" in gateway.scgi("GET", "/metrics").text


def test_the_year_before_which_events_are_suspicious_is_configured(network: Network) -> None:
    network.gateway.config["networks"]["hisparc"]["minimum_year"] = 2006
    network.gateway.start()
    moments = [datetime.datetime(2005, 12, 31), datetime.datetime(2006, 1, 1)]
    assert network.code(fields([event(0, moment) for moment in moments])) == "100"
    assert [one["data"]["datetime"] for one in network.archived()] == ["2006-01-01T00:00:00"]


# -- the station list


def test_a_reload_reads_the_station_list(network: Network) -> None:
    gateway = network.gateway.start()
    assert network.code(fields([event()], 503, "new")) == "206"
    network.list.write_text("503,leiden,new\n")
    gateway.signal(signal.SIGHUP)
    eventually(lambda: network.code(fields([event()], 503, "new")) == "100", "503 is known")
    assert network.code(fields([event()], 501)) == "206"


def test_a_broken_line_refuses_the_reload_and_the_old_list_stays(network: Network) -> None:
    gateway = network.gateway.start()
    network.list.write_text("503,leiden,new\n504,secretword\n")
    gateway.signal(signal.SIGHUP)
    (entry,) = wait_for_log(gateway, "reload refused")
    assert entry["why"].endswith(f"{network.list} line 2: expected number,cluster,password")
    assert network.code(fields([event()])) == "100"
    assert network.code(fields([event()], 503, "new")) == "206"


def test_a_broken_line_at_the_start_is_one_line_and_exit_code_2(network: Network) -> None:
    network.list.write_text("501,amsterdam\n")
    gateway = network.gateway.start(ready=False)
    assert gateway.wait() == 2
    assert f"station_list: {network.list} line 1: expected number,cluster,password" in gateway.log


def test_a_reload_turns_the_action_on_and_off(habitat: HabitatFactory) -> None:
    gateway = habitat()
    network = Network(gateway)
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: network.post(GOOD).status == 200, "/upload is there")
    assert network.code(GOOD) == "100"
    del gateway.config["networks"]
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    eventually(lambda: network.post(GOOD).status == 404, "/upload is gone")
    assert gateway.scgi("POST", "/message", b"{}").status == 400


def test_a_reload_that_would_give_two_actions_one_name_is_refused(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat({"gateway": {"actions": ["message", "own.upload"]}}, start=False)
    (gateway.directory / "own.py").write_text("def upload(application, ip, args): return 'own'\n")
    gateway.start()
    Network(gateway)
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    (entry,) = wait_for_log(gateway, "reload refused")
    assert "the path /upload of the network hisparc is taken" in entry["why"]
    assert gateway.scgi("POST", "/upload", as_utf8(GOOD)).text == "own"


def test_passwords_are_in_no_log(network: Network) -> None:
    network.list.write_text("501,amsterdam,secretword\n502,leiden\n")
    gateway = network.gateway
    gateway.start(ready=False)
    assert gateway.wait() == 2
    network.list.write_text("501,amsterdam,secretword\n")
    gateway.start()
    assert network.code(fields([event()], password="guessedword")) == "203"
    assert network.code(fields([event()], password="secretword")) == "100"
    network.list.write_text("501,amsterdam,secretword\nsecretword\n")
    gateway.signal(signal.SIGHUP)
    wait_for_log(gateway, "reload refused")
    gateway.stop()
    assert "secretword" not in gateway.log
    assert "guessedword" not in gateway.log


def test_a_refused_upload_is_logged_once_a_minute_for_each_station(network: Network) -> None:
    gateway = network.gateway.start()
    for _ in range(3):
        assert network.code(fields(b"no pickle")) == "208"
    (entry,) = wait_for_log(gateway, "upload refused")
    assert (entry["station"], entry["code"]) == (501, "208")
    assert "opcode b'n' at byte 0" in entry["why"]


# -- wrong passwords


def test_guessing_is_limited_and_locks_no_station_out(network: Network) -> None:
    away_from_midnight()
    network.gateway.start()
    guess = fields([event()], password="guess")
    # An address of its own each time: one that has had the right password may go on guessing.
    addresses = iter([f"203.0.113.{number}" for number in range(1, 250)])
    guessed: list[str] = []

    def is_refused() -> bool:
        # Twelve may take so long on a busy machine that more are allowed.
        guessed.append(next(addresses))
        for _ in range(12):
            assert network.code(guess, guessed[-1]) == "203"
        return network.code(GOOD, guessed[-1]) == "203"

    # Even the right password is not looked at any more, from there and for this station.
    eventually(is_refused, "the right password is refused, too")
    assert network.code(fields([event()], 502, "geheim"), guessed[-1]) == "100"
    assert network.code(GOOD, "198.51.100.1") == "100"
    facts = network.gateway.status()["networks"]["hisparc"]["own"]["stations"]
    assert facts["501"]["failed_passwords_today"] == 12 * len(guessed) + 1


def test_at_its_own_address_a_station_is_never_locked_out(network: Network) -> None:
    network.gateway.start()
    assert network.code(GOOD) == "100"
    for _ in range(30):
        assert network.code(fields([event()], password="guess")) == "203"
    assert network.code(GOOD) == "100"

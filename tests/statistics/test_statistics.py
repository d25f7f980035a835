"""The statistics: what is counted, that each message is counted once, and what is kept."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from habitat_like.journal.file import JournalError
from habitat_like.journal.journal import Journal
from habitat_like.statistics import HeardStation, NetworkSum, StatisticsReader, aggregator, sums
from habitat_like.statistics.status import NetworkStatus
from habitat_like.statistics.tables import DAY, HOUR, MINUTE, RETENTIONS
from habitat_like.times import RELEASED
from tests.conftest import HabitatFactory
from tests.support.messages import INFO, TELEM, WHERE
from tests.support.station import bulk
from tests.support.statistics import MIDNIGHT, Site
from tests.support.wait import PATIENCE, eventually


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "journal.sqlite")
    yield made
    made.close()


def test_messages_are_counted_by_type_station_and_time(site: Site) -> None:
    site.write("A")
    site.clock.now += MINUTE
    site.write("A")
    site.write("A", "LISTENER_INFO")
    site.clock.now += DAY
    site.write("B")
    site.count()
    with site.ask() as reader:
        since, until = MIDNIGHT, int(site.clock.now) + 1
        assert reader.totals() == {"LISTENER_INFO": 1, "RECEIVED_TELEM": 3}
        assert reader.totals(since + DAY) == {"RECEIVED_TELEM": 1}
        minutes = reader.series("minute", since, since + 2 * MINUTE)
        assert minutes.times == (since, since + MINUTE)
        assert minutes.types == {"LISTENER_INFO": (0, 1), "RECEIVED_TELEM": (1, 1)}
        assert reader.series("day", since, until).types["RECEIVED_TELEM"] == (2, 1)
        hours = reader.series("hour", since, until, "A")
        assert len(hours.times) == 25
        assert sum(hours.types["RECEIVED_TELEM"]) == 2
        assert reader.series("day", since, until, "B").types == {"RECEIVED_TELEM": (0, 1)}
        assert [(one.callsign, one.messages) for one in reader.top(since, until)] == [
            ("A", 3),
            ("B", 1),
        ]
        assert [one.callsign for one in reader.top(since, since + DAY)] == ["A"]
        assert [one.messages for one in reader.top(since, until, type="LISTENER_INFO")] == [1]


def test_what_is_known_of_a_station_is_what_it_said_last(site: Site) -> None:
    now = int(site.clock.now)
    own = {"time_created": now + 100, "time_uploaded": now + 110}
    site.upload({**INFO, **own})
    site.clock.now += 5
    site.upload({**WHERE, "time_created": now - 20, "time_uploaded": now - 15})
    site.clock.now += DAY
    site.upload({**TELEM, "time_created": now + DAY, "time_uploaded": now + DAY})
    site.count()
    with site.ask() as reader:
        station = reader.station("M0ZDR")
    assert station is not None
    assert (station.first_heard, station.last_heard) == (now, now + 5 + DAY)
    assert (station.messages, station.messages_today) == (3, 1)
    assert station.clock_offset == -5
    assert (station.info_time, station.name, station.antenna) == (now - 10, "Daniel", "Yagi")
    assert (station.latitude, station.longitude, station.altitude) == (52.1, -0.1, 120)
    assert station.position_time == now
    assert station.ip == "203.0.113.7"
    site.upload({**INFO, "data": {"name": "Ann\n" + "n" * 1000}})
    site.count()
    with site.ask() as reader:
        station = reader.station("M0ZDR")
    assert station is not None
    assert (station.name, station.antenna) == ("Ann?" + "n" * 196, None)


def test_a_fast_clock_is_told_from_a_late_upload(site: Site) -> None:
    now = int(site.clock.now)
    site.upload({**TELEM, "time_created": now - 5000 + 60, "time_uploaded": now + 60})
    site.count()
    with site.ask() as reader:
        station = reader.station("M0ZDR")
        assert station is not None
        assert station.clock_offset == 60
        assert reader.station("NOBODY") is None


def test_messages_that_sinks_make_are_of_no_station(site: Site) -> None:
    site.write("BALLOON", "TELEM")
    site.count()
    with site.ask() as reader:
        assert reader.totals() == {"TELEM": 1}
        assert reader.count_stations() == 0
        assert reader.top(MIDNIGHT, MIDNIGHT + DAY) == ()


def test_large_and_broken_documents_count_as_well(site: Site) -> None:
    site.write("501", "HISPARC_EVENT", trace="A" * 1_000_000)
    site.journal.write([("x", b'{"_id":"x"}'), ("y", b"no JSON")])
    site.count()
    with site.ask() as reader:
        assert reader.totals() == {"HISPARC_EVENT": 1, "UNREADABLE": 2}
        station = reader.station("501")
        assert station is not None
        assert (station.messages, station.clock_offset) == (1, None)


def test_stations_are_searched_sorted_and_paged(site: Site) -> None:
    for number, callsign in enumerate(["B", "A_1", "AX1", "C"]):
        for _ in range(number + 1):
            site.write(callsign)
    site.upload({**INFO, "callsign": "B", "data": {"name": "Station of Ann"}})
    site.count()
    with site.ask() as reader:

        def found(*args: Any, **more: Any) -> list[str]:
            return [one.callsign for one in reader.stations(*args, **more).stations]

        assert found() == ["AX1", "A_1", "B", "C"]
        assert found(sort="messages", descending=True) == ["C", "AX1", "B", "A_1"]
        assert found(sort="messages_today", limit=2, offset=1) == ["B", "AX1"]
        assert reader.stations(limit=1).total == 4
        assert found("a_") == ["A_1"]
        assert found("of ann") == ["B"]
        assert found("%") == []
        assert found(sort="name", descending=True)[0] == "B"
        with pytest.raises(ValueError, match="sort by one of callsign"):
            reader.stations(sort="callsign; DROP TABLE station")


@pytest.mark.parametrize("sort", ["callsign", "last_heard", "name", "messages_today"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_of_stations_go_on_where_the_last_ended(
    site: Site, sort: str, descending: bool
) -> None:
    for number, callsign in enumerate("BDACEFG"):
        site.clock.now += number % 2
        site.write(callsign)
    for callsign in "AC":
        site.upload({**INFO, "callsign": callsign, "data": {"name": "Ann"}})
    site.count()
    with site.ask() as reader:
        whole = reader.stations(sort=sort, descending=descending).stations
        seen: list[Any] = []
        while page := reader.stations(
            sort=sort,
            descending=descending,
            limit=2,
            after=(getattr(seen[-1], sort), seen[-1].callsign) if seen else None,
        ).stations:
            seen += page
        assert seen == list(whole)
        assert len(seen) == 7


def test_stations_are_narrowed_by_when_they_were_last_heard(site: Site) -> None:
    with site.ask() as reader:
        assert reader.last_heard() is None
    for callsign in "ABC":
        site.write(callsign)
        site.clock.now += HOUR
    site.count()
    with site.ask() as reader:
        page = reader.stations(heard_since=MIDNIGHT + HOUR, heard_before=MIDNIGHT + 2 * HOUR)
        assert (page.total, [one.callsign for one in page.stations]) == (1, ["B"])
        assert reader.last_heard() == MIDNIGHT + 2 * HOUR


def test_silent_is_who_was_heard_lately_but_not_just_now(site: Site) -> None:
    for callsign, hours in [("LONG-AGO", 9 * 24), ("SILENT", 20), ("SILENTER", 30), ("HERE", 0)]:
        site.clock.now = MIDNIGHT + 20 * DAY - hours * HOUR
        site.write(callsign)
    site.clock.now = MIDNIGHT + 20 * DAY
    site.count()
    with site.ask() as reader:
        assert [one.callsign for one in reader.silent(2 * HOUR)] == ["SILENTER", "SILENT"]
        assert [one.callsign for one in reader.silent(2 * HOUR, known=DAY)] == ["SILENT"]
        assert [one.callsign for one in reader.new_stations(0, MIDNIGHT + 12 * DAY)] == ["LONG-AGO"]
        assert reader.heard_since(MIDNIGHT + 19 * DAY) == 2
        assert reader.count_heard(MIDNIGHT + 20 * DAY) == 1


def test_requests_latency_backlog_and_disk_outlive_a_restart(site: Site) -> None:
    site.metrics.requests["message", 200] += 99
    site.metrics.requests["message", 400] += 1
    site.metrics.latency.observe(0.0007, 98)
    site.metrics.latency.observe(3.0, 2)
    site.journal.register("sink")
    site.write()
    site.count()
    site.metrics.requests["message", 200] += 1
    site.count()
    with site.ask() as reader:
        counts = {(one.action, one.status): one.requests for one in reader.requests(0, 2**33)}
        assert counts == {("message", 200): 100, ("message", 400): 1}
        (minute,) = reader.latencies(0, 2**33)
        assert reader.latency(MIDNIGHT, 2**33) == minute
        assert (minute.requests, minute.time) == (100, MIDNIGHT)
        assert minute.p50 == pytest.approx(0.0005 + 0.0005 * 50 / 98)
        assert minute.p99 == pytest.approx(2.5 + 2.5 * 1 / 2)
        assert reader.latency(MIDNIGHT + DAY, 2**33).p50 is None
        (backlog,) = reader.backlog(0, 2**33)
        assert (backlog.time, backlog.largest) == (MIDNIGHT, 1)
        (disk,) = reader.disk(0, 2**33)
        assert disk.place == "journal"
        assert 0 < disk.free < disk.total


def test_what_networks_upload_is_summed_by_day_and_outlives_a_restart(site: Site) -> None:
    site.uploads = {
        "weather": NetworkStatus(7, {"WEATHER": 4}, 1, 2, {"content": 2, "wrong_key": 1}),
        "ttn": NetworkStatus(5, {"UPLINK": 3, "EVENT": 1}, 0, 1, {"content": 1}),
        "osmand": NetworkStatus(),
    }
    site.count()
    site.clock.now = MIDNIGHT + DAY
    site.uploads = {"weather": NetworkStatus(2, {"WEATHER": 2})}
    site.count()
    with site.ask() as reader:
        assert reader.network_sums(0, 2**33) == (
            NetworkSum("ttn", 5, 4, 0, 1, 1),
            NetworkSum("weather", 9, 6, 1, 2, 3),
        )
        assert reader.network_sums(MIDNIGHT + DAY, 2**33) == (NetworkSum("weather", 2, 2, 0, 0, 0),)
        reasons = {
            one.reason: one.number
            for one in reader.networks(MIDNIGHT, MIDNIGHT + DAY)
            if (one.network, one.kind) == ("weather", "refused")
        }
        assert reasons == {"content": 2, "wrong_key": 1}


def test_a_network_that_is_turned_off_and_on_again_counts_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_counted() -> bool:
        return site.aggregator.counted == site.journal.last_seq

    monkeypatch.setattr(aggregator, "EVERY", 0.01)
    site.aggregator.start()
    for requests in (3, 5, 1):
        site.uploads = {"weather": NetworkStatus(requests)}
        site.write()
        eventually(is_counted, "it is counted")
    site.aggregator.stop(PATIENCE)
    with site.ask() as reader:
        assert reader.network_sums(0, 2**33) == (NetworkSum("weather", 6, 0, 0, 0, 0),)


def test_statistics_of_a_version_without_networks_can_be_read(site: Site) -> None:
    site.count()
    site.journal.update([("DROP TABLE sum_network", ())])
    with site.ask() as reader:
        assert reader.network_sums(0, 2**33) == ()


def test_days_left_follow_from_how_the_disk_fills(site: Site) -> None:
    site.count()
    rows = [(MIDNIGHT + at * HOUR, "full", 1000 - 10 * at, 2000) for at in range(11)]
    rows += [(MIDNIGHT + at * HOUR, "emptier", 1000 + at, 2000) for at in range(11)]
    site.journal.update([("INSERT INTO sample_disk VALUES (?, ?, ?, ?)", row) for row in rows])
    with site.ask() as reader:
        emptier, full, journal = reader.outlook()
    assert (full.place, full.free) == ("full", 900)
    assert full.days_left == pytest.approx(900 / 240)
    assert emptier.days_left is None
    assert (journal.bytes_per_day, journal.days_left) == (None, None)


def test_a_journal_without_statistics_answers_as_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with StatisticsReader(path) as reader:
        assert reader.totals() == {}
        assert reader.series("hour", 0, 7200).types == {}
        assert reader.stations().total == 0
        assert reader.silent(1) == ()
        assert reader.top(0, 1) == ()
        assert reader.requests(0, 1) == ()
        assert reader.latency(0, 1).p99 is None
        assert reader.outlook() == ()
    with pytest.raises(JournalError, match="no journal at"):
        StatisticsReader(tmp_path / "missing")


def test_the_tables_are_no_change_of_the_format(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.path)) as connection:
        before = connection.execute("PRAGMA user_version").fetchone()
        site.count()
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == before


def test_a_series_has_bounds(site: Site) -> None:
    with site.ask() as reader:
        with pytest.raises(ValueError, match="more than"):
            reader.series("minute", 0, 2**33)
        with pytest.raises(ValueError, match="single station"):
            reader.series("minute", 0, 60, "A")


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY),
        st.sampled_from(["A", "B", "C", "D"]),
        st.sampled_from(["RECEIVED_TELEM", "LISTENER_TELEM", "TELEM"]),
        st.sampled_from(["", "", "", "count", "restart"]),
    ),
    max_size=20,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, chunk=st.integers(1, 5), rows=st.integers(1, 10))
def test_the_sums_are_those_of_a_naive_count(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    events: list[tuple[int, str, str, str]],
    chunk: int,
    rows: int,
) -> None:
    monkeypatch.setattr(aggregator, "CHUNK", chunk)
    monkeypatch.setattr(aggregator, "MAX_ROWS", rows)
    monkeypatch.setattr(aggregator, "PAUSE", 0)
    site = Site(tmp_path_factory.mktemp("naive") / "journal.sqlite")
    totals: Counter[str] = Counter()
    hours: Counter[tuple[int, str]] = Counter()
    days: Counter[tuple[str, int]] = Counter()
    stations: dict[str, list[int]] = {}
    for offset, callsign, type_, then in events:
        site.clock.now = MIDNIGHT + offset
        site.write(callsign, type_)
        totals[type_] += 1
        hours[offset // HOUR, type_] += 1
        if type_ != "TELEM":
            days[callsign, offset // DAY] += 1
            stations.setdefault(callsign, []).append(MIDNIGHT + offset)
        if then == "count":
            site.count()
        elif then == "restart":
            site.close()
            site.open()
    site.clock.now = MIDNIGHT + 3 * DAY
    site.count()
    with site.ask() as reader:
        assert reader.totals() == totals
        series = reader.series("hour", MIDNIGHT, MIDNIGHT + 4 * DAY)
        for type_, counts in series.types.items():
            assert list(counts) == [hours[at, type_] for at in range(4 * 24)]
        for callsign in "ABCD":
            of_days = reader.series("day", MIDNIGHT, MIDNIGHT + 4 * DAY, callsign).types
            found = [sum(column) for column in zip(*of_days.values(), strict=True)] or [0] * 4
            assert found == [days[callsign, at] for at in range(4)]
        known = {one.callsign: one for one in reader.stations().stations}
        assert known.keys() == stations.keys()
        for callsign, times in stations.items():
            assert known[callsign].messages == len(times)
            assert known[callsign].first_heard <= times[0]
            assert known[callsign].last_heard == max(times)
    site.close()


def test_what_is_too_old_goes_and_totals_stay(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregator, "EXPIRE_CHUNK", 2)
    monkeypatch.setattr(aggregator, "EVERY", 0.01)
    for minute in range(5):
        site.clock.now = MIDNIGHT + minute * MINUTE
        site.metrics.requests["message", 200] += 1
        site.metrics.latency.observe(0.1)
        site.uploads["weather"] = NetworkStatus(minute + 1)
        for callsign in "ABC":
            site.write(callsign)
    site.count()
    with site.ask() as reader:

        def left(table: str, column: str) -> bool:
            return reader.oldest(table, column) < MIDNIGHT + DAY

        assert all(left(one.table, one.column) for one in RETENTIONS)
        for days in (2, 8, 400):
            site.clock.now = MIDNIGHT + (days + 1) * DAY + 2 * MINUTE
            site.aggregator.start()
            eventually(lambda now=site.clock.now: reader.disk(int(now) - 60, 2**33))  # type: ignore[misc]
            eventually(
                lambda days=days: (
                    not any(  # type: ignore[misc]
                        left(one.table, one.column)
                        for one in RETENTIONS
                        if one.seconds <= days * DAY
                    )
                )
            )
            site.aggregator.stop(PATIENCE)
            assert all(
                left(one.table, one.column) for one in RETENTIONS if one.seconds > days * DAY
            )
            site.close()
            site.open()
        assert reader.totals() == {"RECEIVED_TELEM": 15}
        assert reader.totals(MIDNIGHT, MIDNIGHT + HOUR) == {"RECEIVED_TELEM": 15}


def test_forged_callsigns_push_out_only_who_was_not_heard_for_longest(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator, "STATIONS", 100)
    monkeypatch.setattr(sums, "CALLSIGNS", 50)
    for number in range(150):
        site.clock.now += 1
        site.write(f"FORGED-{number}")
        if number % 20 == 0:
            site.write("REAL")
    site.count()
    with site.ask() as reader:
        assert reader.count_stations() <= 100
        real = reader.station("REAL")
        assert real is not None
        assert real.messages == 8
        assert reader.station("FORGED-0") is None
        assert reader.totals() == {"RECEIVED_TELEM": 158}


def test_forged_callsigns_are_summed_together_beyond_a_number(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums.CallsignLimit.__init__, "__defaults__", (10,))
    site.write("REAL")
    site.count()
    for number in range(30):
        site.write(f"FORGED-{number}")
    site.write("REAL")
    site.count()
    with site.ask() as reader:
        assert len(reader.callsigns_of_hour(MIDNIGHT)) == 10
        assert len(reader.callsigns_of_day(MIDNIGHT)) == 10
        assert reader.top(MIDNIGHT, MIDNIGHT + DAY, 1)[0].callsign == "REAL"
        assert reader.series("hour", MIDNIGHT, MIDNIGHT + 1).types == {"RECEIVED_TELEM": (32,)}
    with sqlite3.connect(site.path) as connection:
        (messages,) = connection.execute(
            "SELECT sum(messages) FROM sum_station_day WHERE day = ?", (MIDNIGHT,)
        ).fetchone()
    assert messages == 32


def test_prune_leaves_what_is_not_counted(site: Site) -> None:
    site.write()
    site.count()
    site.write()
    site.clock.now += DAY
    assert site.journal.prune(0) == 1
    site.count()
    assert site.journal.prune(0) == 1
    with site.ask() as reader:
        assert reader.totals() == {"RECEIVED_TELEM": 2}


def test_a_journal_whose_numbers_begin_anew_is_counted_on(site: Site) -> None:
    for _ in range(3):
        site.write()
    site.count()
    site.clock.now += DAY
    assert site.journal.prune(0) == 3
    site.close()
    site.open()  # nothing is left to tell the last number
    site.write()
    site.count()
    with site.ask() as reader:
        assert reader.totals() == {"RECEIVED_TELEM": 4}


def test_sums_and_cursor_are_one_transaction(site: Site) -> None:
    site.write("A")
    site.count()
    site.write("B")
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON station BEGIN SELECT RAISE(ABORT, 'no'); END"
    site.journal.update([(refuse, ())])
    site.aggregator.start()
    site.aggregator.stop(PATIENCE)
    assert "no" in (site.aggregator.problem or "")
    with site.ask() as reader:
        assert (reader.counted(), reader.totals()) == (1, {"RECEIVED_TELEM": 1})
    site.journal.update([("DROP TRIGGER refuse", ())])
    site.count()
    with site.ask() as reader:
        assert (reader.counted(), reader.totals()) == (2, {"RECEIVED_TELEM": 2})
        assert reader.count_stations() == 2


#: Counts with so little room for files that nothing can be written, then with room again.
FULL_DISK = """
import json, logging, resource, sys
from pathlib import Path
from tests.support.statistics import Site
site = Site(Path(sys.argv[1]))
for number in range(100):
    site.write(f"S{number}")
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
for _ in range(3):
    site.aggregator._try_round()
print(site.aggregator.problem)
assert site.aggregator.counted == 0
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
site.count()
print(site.aggregator.problem)
with site.ask() as reader:
    print(json.dumps(reader.totals()))
site.close()
"""


def test_a_full_disk_is_told_once_and_counted_after(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "journal.sqlite")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("statistics wait") == 1
    assert lines[-2:] == ["None", '{"RECEIVED_TELEM": 100}']


def test_each_message_counts_once_over_kills(habitat: HabitatFactory) -> None:
    gateway = habitat(environ={"HABITAT_LOG_LEVEL": "info"})
    chance = random.Random(7)
    sent = 0
    for _ in range(3):
        goal = sent + chance.randrange(100, 2000)
        while sent < goal:
            numbers = range(sent, sent + 50)
            assert gateway.scgi("POST", "/messages", bulk(numbers)).status == 200
            sent += 50
        counted = counted_or_none(gateway.journal_path)
        if chance.random() < 0.5:  # in the middle of a round, or right behind one
            eventually(
                lambda counted=counted: counted_or_none(gateway.journal_path) != counted,  # type: ignore[misc]
                pause=0.001,
            )
        gateway.kill()
        gateway.start()
    assert gateway.stop() == 0
    with sqlite3.connect(gateway.journal_path) as connection:
        (written,) = connection.execute("SELECT count(*) FROM message").fetchone()
    with StatisticsReader(gateway.journal_path) as reader:
        assert sum(reader.totals().values()) == written >= sent
        station = reader.station("M0ZDR")
        assert station is not None
        assert station.messages == written


def counted_or_none(path: Path) -> int:
    with StatisticsReader(path) as reader:
        return reader.counted()


def test_a_running_gateway_tells_how_its_statistics_fare(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", json.dumps(TELEM).encode()).status == 200
    statistics: Callable[[], Any] = lambda: gateway.status()["statistics"]  # noqa: E731
    eventually(lambda: statistics()["counted"] == 1 and statistics()["stations"])
    assert statistics() == {
        "counted": 1,
        "behind": 0,
        "problem": None,
        "stations": {"heard": 1, "silent": 0},
    }
    assert "statistics" not in gateway.status()["sinks"]
    metrics = gateway.scgi("GET", "/metrics").text
    assert 'habitat_stations{state="heard"} 1.0' in metrics
    assert "habitat_statistics_behind 0.0" in metrics


def test_a_station_heard_while_the_clock_was_ahead_is_silent_in_time(site: Site) -> None:
    site.write("KNOWN")
    site.clock.now += 5 * DAY
    for callsign in ("KNOWN", "NEW"):
        site.write(callsign)
    site.count()
    site.clock.now -= 5 * DAY - 3 * HOUR
    with site.ask() as reader:
        assert [one.callsign for one in reader.silent(2 * HOUR)] == ["KNOWN", "NEW"]
    site.write("NEW")
    site.count()
    with site.ask() as reader:
        assert [one.callsign for one in reader.silent(2 * HOUR)] == ["KNOWN"]
        new = reader.station("NEW")
        assert new is not None
        assert new.first_heard == new.last_heard == int(site.clock.now)


def corrected(site: Site) -> list[HeardStation]:
    """The stations once a running aggregator has seen what the clock shows now."""
    site.aggregator.start()
    with site.ask() as reader:
        eventually(lambda: not reader.heard_wrongly(RELEASED, site.clock.now + MINUTE))
        return list(reader.stations().stations)


def test_stations_heard_while_the_clock_was_ahead_are_silent_from_when_it_is_right(
    site: Site,
) -> None:
    site.write("KNOWN")
    site.count()
    site.clock.now += 2 * DAY
    for callsign in ("KNOWN", "NEW"):
        site.write(callsign)
    site.count()
    site.clock.now -= DAY
    known, new = corrected(site)
    assert (known.first_heard, known.last_heard) == (MIDNIGHT, MIDNIGHT + DAY)
    assert (new.first_heard, new.last_heard) == (MIDNIGHT + DAY, MIDNIGHT + DAY)
    site.clock.now += 3 * HOUR
    with site.ask() as reader:
        assert [one.callsign for one in reader.silent(2 * HOUR)] == ["KNOWN", "NEW"]


def test_a_station_heard_before_the_clock_was_set_is_known_from_then_on(site: Site) -> None:
    site.clock.now = 100.0
    site.write("A")
    site.write("B")
    site.count()
    site.clock.now = MIDNIGHT
    site.write("B")
    for one in corrected(site):
        assert (one.first_heard, one.last_heard) == (MIDNIGHT, MIDNIGHT)
    site.clock.now += 3 * HOUR
    with site.ask() as reader:
        assert [one.callsign for one in reader.silent(2 * HOUR)] == ["A", "B"]

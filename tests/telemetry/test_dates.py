"""One TELEM for each sentence, with the right date, whoever heard it and whenever that comes in."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.telemetry.checksums import crc16_ccitt
from habitat_like.telemetry.coordinates import DAY, show_time
from habitat_like.telemetry.fix import Fix
from habitat_like.telemetry.packets import TIMELESS, date_of, message
from tests.conftest import HabitatFactory
from tests.support.gateway import ARCHIVE_SINK, Habitat
from tests.telemetry.test_sink import PARSER, heard, telem

HOUR = 3600
#: 15 January 2011, 12:45:06 UTC.
FIX = 1295095506


def sentence(moment: int, number: int = 1) -> bytes:
    """A sentence with a fix at this UNIX time."""
    of_day = show_time(moment % DAY)
    text = f"hab,{number},{of_day},51.5,-0.1,1000"
    return f"$${text}*{crc16_ccitt(text.encode())}\n".encode()


def upload(gateway: Habitat, packet: bytes, callsign: str, created: int, uploaded: int) -> None:
    """What a station uploads whose clock shows these times."""
    body = heard(packet, callsign, created, uploaded)
    assert gateway.scgi("POST", "/message", body).status == 200


def parsed(gateway: Habitat) -> list[dict[str, Any]]:
    """All TELEM, once everything is parsed and archived."""
    gateway.wait_until_archived()
    return telem(gateway)


def times(gateway: Habitat) -> list[int]:
    return [one["time_created"] for one in parsed(gateway)]


# -- in a running gateway


def test_however_often_it_is_heard_uploaded_and_parsed_it_is_one(habitat: HabitatFactory) -> None:
    gateway = habitat()
    now = int(time.time())
    fix = now - 60
    packet = sentence(fix)
    for number in range(5):
        for _ in range(2):
            upload(gateway, packet, f"RX-{number}", now - 50 + number, now)
    upload(gateway, b"\xff\x00 noise" + packet * 2 + b"more", "RX-NOISE", now - 50, now)
    assert times(gateway) == [fix]
    before = parsed(gateway)
    gateway.restart()
    upload(gateway, packet, "RX-AFTER", now - 50, int(time.time()))
    assert parsed(gateway) == before
    # A parser of another name begins with the oldest message in the journal: a replay.
    gateway.config["sinks"] = [ARCHIVE_SINK, PARSER, {PARSER: {"name": "again"}}]
    gateway.restart()
    gateway.wait_until_archived()
    assert gateway.status()["sinks"]["again"]["counts"]["parsed"] >= 7
    assert parsed(gateway) == before


def test_a_station_that_uploads_hours_later_adds_nothing(habitat: HabitatFactory) -> None:
    gateway = habitat()
    now = int(time.time())
    fix = now - 20 * HOUR
    # Three receivers: at once (as another gateway's clock had it), a queue of hours, a slow clock.
    upload(gateway, sentence(fix), "AT-ONCE", fix + 5, now)
    upload(gateway, sentence(fix), "LATE", fix + 9, now)
    upload(gateway, sentence(fix), "SLOW", fix + 9 - 90 * DAY, now - 90 * DAY)
    assert times(gateway) == [fix]


def test_a_fix_before_midnight_that_is_received_after_it(habitat: HabitatFactory) -> None:
    gateway = habitat()
    now = int(time.time())
    midnight = now // DAY * DAY
    fix = midnight - 10
    upload(gateway, sentence(fix), "BEFORE", midnight - 5, now)
    upload(gateway, sentence(fix), "AFTER", midnight + 5, now)
    assert times(gateway) == [fix]


@pytest.mark.parametrize("ahead", [-400 * DAY, -3 * HOUR, 7 * HOUR, 30 * DAY])
def test_a_clock_that_is_off_changes_nothing(habitat: HabitatFactory, ahead: int) -> None:
    gateway = habitat()
    now = int(time.time())
    fix = now - 100
    upload(gateway, sentence(fix), "RIGHT", fix + 3, now)
    upload(gateway, sentence(fix), "OFF", fix + 3 + ahead, now + ahead)
    assert times(gateway) == [fix]


def test_a_station_that_lives_in_1970(habitat: HabitatFactory) -> None:
    """Its clock starts at zero with each power-up, and may be set while it runs."""
    gateway = habitat()
    now = int(time.time())
    fix = now - 100
    upload(gateway, sentence(fix), "RIGHT", fix + 3, now)
    upload(gateway, sentence(fix), "ALL-1970", 15, 30)
    upload(gateway, sentence(fix), "SET-MEANWHILE", 15, now)
    (document,) = parsed(gateway)
    assert document["time_created"] == fix
    assert "suspicious" not in document


def test_a_station_whose_clock_runs_away_before_it_uploads(habitat: HabitatFactory) -> None:
    gateway = habitat()
    now = int(time.time())
    fix = now - 100
    upload(gateway, sentence(fix), "AHEAD", now + 400 * DAY, now)
    (document,) = parsed(gateway)
    assert (document["time_created"], document.get("suspicious")) == (fix, None)


def test_sentences_of_one_payload_stay_apart(habitat: HabitatFactory) -> None:
    gateway = habitat()
    now = int(time.time())
    for number in range(3):
        upload(gateway, sentence(now - 60, number), "RX", now - 50 + number, now)
    upload(gateway, sentence(now - 60), "RX", now - 50 - DAY, now)
    assert sorted(times(gateway)) == [now - 60 - DAY, *[now - 60] * 3]


# -- by itself


@pytest.mark.parametrize(
    ("created", "uploaded", "received"),
    [
        (FIX, FIX + 5, FIX),
        (FIX, FIX + 5 * DAY, FIX),
        (15, FIX, FIX),  # 1970, and set since
        (FIX + 2 * DAY, FIX, FIX),  # ahead
        (FIX, 100, FIX),  # the gateway's own clock is not set: the station's is
        (15, 100, 15),  # no clock is set
    ],
)
def test_when_a_packet_was_received(created: int, uploaded: int, received: int) -> None:
    assert date_of(created, uploaded) == received


def test_where_no_clock_was_set_the_date_is_in_doubt() -> None:
    fix = Fix("ukhas", "hab", 1, FIX % DAY)
    assert message(fix, 15, 100).suspicious == "the date is unknown: no clock was set"
    assert message(fix, FIX, 100).suspicious is None


def test_a_fix_without_a_time_of_day_is_one_within_the_hour() -> None:
    fix = Fix("ukhas", "hab", 7)
    begin = FIX // TIMELESS * TIMELESS
    ids = {message(fix, begin + late, FIX + HOUR).id for late in (0, 1, 30, TIMELESS - 1)}
    assert len(ids) == 1
    assert message(fix, begin + TIMELESS, FIX + HOUR).id not in ids
    assert message(fix, begin + 30, FIX + HOUR).time_created == begin + 30


@given(
    fix=st.integers(FIX, FIX + 400 * DAY),
    delays=st.lists(st.integers(-HOUR, 11 * HOUR), min_size=2, max_size=5),
    late=st.integers(0, 30 * DAY),
)
def test_all_receptions_within_hours_agree(fix: int, delays: list[int], late: int) -> None:
    one = Fix("ukhas", "hab", 1, fix % DAY, values={"a": 1})
    made = [message(one, fix + delay, fix + max(delay, 0) + late) for delay in delays]
    assert {each.time_created for each in made} == {fix}
    assert len({each.id for each in made}) == 1

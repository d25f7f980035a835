"""The parts without I/O: GPS time, the form, the station list, passwords, the limit of tries."""

from __future__ import annotations

import datetime
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like import passwords
from habitat_like.message.message import from_document
from habitat_like.networks.hisparc import events, form, gps, pickles, stations
from habitat_like.networks.hisparc.activity import Activity
from habitat_like.networks.hisparc.stations import HisparcStation, StationListError
from habitat_like.passwords import MAX_OWN, MAX_PAIRS, REFILL, TRIES, Limiter, Verifier
from tests.networks.hisparc.support import MOMENT, as_utf8, event, fields

# -- GPS time


def unix(*clock: int) -> int:
    return gps.unix_time(datetime.datetime(*clock))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("year", "month", "ahead"),
    [(1980, 1, 0), (1981, 8, 1), (1999, 8, 13), (2008, 12, 14), (2016, 12, 17), (2017, 2, 18)],
)
def test_gps_time_is_ahead_of_utc(year: int, month: int, ahead: int) -> None:
    clock = datetime.datetime(year, month, 15, 12)
    assert gps.ahead(clock) == ahead
    assert gps.unix_time(clock) == clock.replace(tzinfo=datetime.UTC).timestamp() - ahead


def test_the_difference_of_2017_goes_on() -> None:
    assert gps.ahead(datetime.datetime(2026, 11, 21)) == 18


def test_a_leap_second_has_the_time_of_the_second_after_it() -> None:
    midnight = 1483228800  # 2017-01-01 00:00:00 UTC
    assert unix(2017, 1, 1, 0, 0, 16) == midnight - 1  # 23:59:59 UTC
    assert unix(2017, 1, 1, 0, 0, 17) == midnight  # 23:59:60 UTC
    assert unix(2017, 1, 1, 0, 0, 18) == midnight
    assert unix(2017, 1, 1, 0, 0, 19) == midnight + 1


@given(st.datetimes(), st.integers(0, 3600))
def test_unix_time_never_goes_back(clock: datetime.datetime, more: int) -> None:
    later = min(datetime.datetime.max - clock, datetime.timedelta(seconds=more))
    assert gps.unix_time(clock + later) >= gps.unix_time(clock)


# -- the form


@given(st.binary(), st.booleans(), st.booleans())
def test_the_checksum_tells_how_the_pickle_was_encoded(
    data: bytes, utf8: bool, literally: bool
) -> None:
    raw = data.decode("latin-1").encode() if utf8 else data
    text = quote_from_bytes(raw, safe="").encode()
    if literally:  # a client that leaves bytes over 127 as they are
        for byte in range(128, 256):
            text = text.replace(b"%%%02X" % byte, bytes([byte]))
    digest = hashlib.md5(data).hexdigest().encode()
    body = b"station_id=5&password=&checksum=" + digest + b"&data=" + text
    assert form.pickle_of(form.parse(body)) == data


@given(
    st.lists(
        st.sampled_from([b"%41", b"%0a", b"%0D", b"%", b"%4", b"=", b"=\n", b"_", b" \r\n", b"+"])
        | st.binary()
    ).map(b"".join),
)
def test_long_text_is_decoded_as_the_standard_library_does(text: bytes) -> None:
    text = text.replace(b"&", b"")
    padding = b"x" * 300
    for whole in (text + padding, padding + text, text):
        body = b"station_id=1&password=&checksum=&data=" + whole
        assert form.parse(body).data == unquote_to_bytes(whole.replace(b"+", b" "))


def test_plus_is_a_space_and_names_may_be_encoded() -> None:
    body = b"station%5Fid=+501+&password=a+b%2B&checksum=0&data="
    assert form.parse(body)[:2] == (501, b"a b+")


@given(st.binary())
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    try:
        parsed = form.parse(body)
    except form.FormError:
        return
    form.pickle_of(parsed)


# -- events


def values(**given: Any) -> dict[str, object]:
    data = fields([event(**given)], protocol=4)["data"].encode("latin-1")
    (found,) = events.read(pickles.load(data), len(data))
    return found.values


def test_traces_that_are_base64_stay_and_others_become_it() -> None:
    assert values(TR1="eJwz0DHU", TR2=b"eJwz0DHU", TR4=b"", TR3=b"x\x9c") == {
        "TR1": "eJwz0DHU",
        "TR2": "eJwz0DHU",
        "TR3": "eJw=",
        "TR4": "",
    }


def test_blobs_of_the_configuration_are_always_encoded() -> None:
    assert values(CFG_BUFFER="abcd", CFG_PASSWORD="\xff\u2603", CFG_MAS_VERSION=b"\xff") == {
        "CFG_BUFFER": "YWJjZA==",
        "CFG_PASSWORD": "w7/imIM=",
        "CFG_MAS_VERSION": "/w==",
    }


def test_byte_strings_are_text_in_utf8_or_else_in_latin1() -> None:
    assert values(A="é".encode(), B="é".encode("latin-1")) == {"A": "é", "B": "é"}


def test_a_message_carries_its_mark_through_its_document_and_back() -> None:
    data = fields([event(1, datetime.datetime(1999, 1, 1))])["data"].encode("latin-1")
    (found,) = events.read(pickles.load(data), len(data))
    station = HisparcStation(501, "amsterdam", "secret")
    message = events.to_message(found, station, None, 1795279031, 2020)
    identifier, document = message.document(b'"a1"')
    again = from_document(document)
    assert again.suspicious == "dated 1999-01-01, before 2020"
    assert again.id == identifier
    assert again.document(b'"a1"') == (identifier, document)


# -- the station list


def listed(tmp_path: Path, text: str | bytes) -> dict[int, HisparcStation]:
    path = tmp_path / "stations.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return stations.load(str(path))


def test_the_list_of_the_datastore_is_read(tmp_path: Path) -> None:
    text = '\ufeff501,amsterdam,secret\r\n\r\n 8001 ,"São, Paulo", pass"word \n7,x,#\u2028\n'
    assert listed(tmp_path, text) == {
        501: HisparcStation(501, "amsterdam", "secret"),
        8001: HisparcStation(8001, "São, Paulo", ' pass"word '),
        7: HisparcStation(7, "x", "#\u2028"),
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("501,amsterdam", "expected number,cluster,password"),
        ("501,amsterdam,a,b", "expected number,cluster,password"),
        ('501,"amsterdam,a', "expected number,cluster,password"),
        ("abc,amsterdam,a", "the number 'abc' is no integer from 0 to 999999999"),
        ("-5,amsterdam,a", "the number '-5' is no integer from 0 to 999999999"),
        ("501,,a", "the cluster is empty or can't be printed"),
        ("501,amsterdam,", "the password is empty"),
        ("500,leiden,b", "station 500 stands in line 1 already"),
        ("501,a,scrypt$abc", "the password's hash is broken; make it with habitat station hash"),
        ("501,a,scrypt$3$8$1$aaaa$" + "a" * 44, "the password's hash has a cost that is out"),
        ("501,a,scrypt$4194304$64$1$aaaa$" + "a" * 44, "the password's hash has a cost that"),
        ("501,a,scrypt$4$8$1$aaaa$aaaa", "the password's hash has a digest of a wrong length"),
        ("501,a,scrypt$4$8$1$aaaaa$aaaa", "the password's hash is not valid base64"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(StationListError) as caught:
        listed(tmp_path, f"500,leiden,a\n\n{line}\n502,leiden,a\n")
    assert str(caught.value).startswith(f"{tmp_path}/stations.csv line 3: {why}")


def test_a_list_that_can_t_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StationListError, match="not UTF-8 text"):
        listed(tmp_path, b"501,amsterdam,\xff\n")
    with pytest.raises(StationListError, match="No such file"):
        stations.load(str(tmp_path / "none"))


def test_a_station_s_password_is_not_in_its_repr() -> None:
    assert "secret" not in repr(HisparcStation(501, "amsterdam", "secret"))


# -- passwords


@pytest.mark.parametrize("hashed", [False, True])
def test_the_right_password_and_no_other_is_right(hashed: bool) -> None:
    stored = passwords.make_hash("sécret") if hashed else "sécret"
    passwords.check(stored)
    verifier = Verifier()
    wrong = (b"", b"secret", "sécret".encode("latin-1"), "sécret ".encode(), stored.encode()[:-1])
    for _ in range(2):  # before and after the right one was seen
        assert not any(verifier.is_right(stored, one) for one in wrong)
        assert verifier.is_right(stored, "sécret".encode())


def test_a_hash_has_a_salt_and_is_no_password() -> None:
    first, second = passwords.make_hash("secret"), passwords.make_hash("secret")
    assert first != second
    assert not Verifier().is_right(first, first.encode())


def test_a_password_that_left_the_list_is_forgotten() -> None:
    verifier = Verifier()
    stored = passwords.make_hash("secret")
    assert verifier.is_right(stored, b"secret")
    verifier.keep(set())
    assert verifier._known == {}
    assert verifier.is_right(stored, b"secret")


def test_a_wrong_password_costs_as_much_before_and_after_the_right_one_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []
    compute = hashlib.scrypt

    def count(password: bytes, **options: Any) -> bytes:
        computed.append(options["n"])
        return compute(password, **options)

    monkeypatch.setattr(hashlib, "scrypt", count)
    stored = passwords.make_hash("secret")
    verifier = Verifier()
    for word, right, cost in (
        ("wrong", False, [passwords.COST]),
        ("secret", True, [passwords.COST]),
        ("secret", True, []),
        ("wrong", False, [passwords.COST]),
    ):
        computed.clear()
        assert verifier.is_right(stored, word.encode()) == right
        assert computed == cost


# -- the limit of tries


def test_tries_are_limited_by_address_and_station_and_come_back() -> None:
    limiter = Limiter()
    for _ in range(TRIES):
        assert limiter.take("192.0.2.1", 501, 0)
    assert not limiter.take("192.0.2.1", 501, 0)
    assert limiter.take("192.0.2.2", 501, 0)
    assert limiter.take("192.0.2.1", 502, 0)
    assert limiter.take("192.0.2.1", 501, REFILL)
    assert not limiter.take("192.0.2.1", 501, REFILL)


def test_many_tries_at_once_are_no_more_than_one_after_the_other() -> None:
    limiter = Limiter()
    at_once = threading.Barrier(8)

    def guess(_: int) -> int:
        at_once.wait()
        return sum(limiter.take("192.0.2.1", 501, 0) for _ in range(1000))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(guess, range(8))) == TRIES


def test_the_right_password_makes_an_address_the_station_s_own() -> None:
    limiter = Limiter()
    limiter.right("192.0.2.1", 501)
    assert all(limiter.take("192.0.2.1", 501, 0) for _ in range(100))
    for number in range(MAX_OWN):
        limiter.right(f"192.0.2.{9 + number}", 501)
    assert all(limiter.take("192.0.2.9", 501, 0) for _ in range(100))
    assert sum(limiter.take("192.0.2.1", 501, 0) for _ in range(100)) == TRIES


def test_the_right_password_ends_the_count() -> None:
    limiter = Limiter()
    for _ in range(TRIES):
        assert limiter.take("192.0.2.1", 501, 0)
    limiter.right("192.0.2.1", 501)
    for number in range(MAX_OWN):  # so that the address is no longer the station's own
        limiter.right(f"192.0.2.{9 + number}", 501)
    assert sum(limiter.take("192.0.2.1", 501, 0) for _ in range(100)) == TRIES


def test_hosts_of_one_ipv6_network_are_one_address() -> None:
    limiter = Limiter()
    for number in range(TRIES):
        assert limiter.take(f"2001:db8::{number:x}", 501, 0)
    assert not limiter.take("2001:db8::ffff", 501, 0)
    assert limiter.take("2001:db8:0:1::1", 501, 0)
    assert limiter.take(None, 501, 0)


def test_no_more_pairs_are_remembered_than_there_is_room_for() -> None:
    limiter = Limiter()
    for number in range(MAX_PAIRS + 5):
        limiter.take("192.0.2.1", number, 0)
    assert limiter._tries.remembered == MAX_PAIRS


# -- activity


def test_counts_of_a_day_end_with_it() -> None:
    activity = Activity()
    evening = 20_000 * 86400 - 10.0
    activity.stored("100", 501, events=100, suspicious=2, now=evening)
    activity.wrong_password(501, evening)
    activity.refused("203")
    today = activity.snapshot(evening + 5)
    assert today["stations"]["501"] == {
        "last_upload": evening,
        "events_today": 100,
        "suspicious_today": 2,
        "failed_passwords_today": 1,
    }
    tomorrow = activity.snapshot(evening + 10)
    assert tomorrow["stations"]["501"] == {
        "last_upload": evening,
        "events_today": 0,
        "suspicious_today": 0,
        "failed_passwords_today": 0,
    }
    assert (tomorrow["uploads"], tomorrow["events"]) == ({"100": 1, "203": 1}, 100)


def test_the_form_of_the_tests_is_that_of_the_protocol() -> None:
    parsed = form.parse(as_utf8(fields([event(0, MOMENT)])))
    assert (parsed.station, parsed.password) == (501, b"secret")

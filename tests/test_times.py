"""Times on the command line: every accepted form, and nothing that isn't a time."""

import datetime
import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like import times
from habitat_like.times import MAX_TIME

NOW = 1795272462.5  # 2026-11-21T14:47:42.5Z
ZONE = "Europe/Berlin"


@pytest.fixture(autouse=True, scope="module")
def berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", ZONE)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1295103598", 1295103598),
        ("1295103598.25", 1295103599),
        (" 1295103598 ", 1295103598),
        ("now", 1795272463),
        ("2h", 1795265263),
        ("2h ago", 1795265263),
        ("2 hours ago", 1795265263),
        ("1h30m", 1795267063),
        ("1d 2h", 1795178863),
        ("1.5h", 1795267063),
        ("90s", 1795272373),
        ("2w", 1794062863),
        ("2 Weeks Ago", 1794062863),
        ("99999w", 0),
        ("2026-11-21T14:47:42Z", 1795272462),
        ("2026-11-21t14:47:42z", 1795272462),
        ("2026-11-21T14:47:42+02:00", 1795265262),
        ("2026-11-21 15:47", 1795272420),
        ("2026-11-21", 1795215600),
        ("2026-07-01T12:00", 1782900000),
        ("20261121", 1795215600),
        ("20260701", 1782856800),
        ("today", 1795215600),
        ("yesterday", 1795129200),
        ("0001-01-01", 0),
        ("9999-12-31T23:59:59Z", MAX_TIME + 1),
    ],
)
def test_reads(text: str, expected: int) -> None:
    assert times.parse(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorow",
        "2x",
        "2h later",
        "-5",
        "1e9",
        "\u00b2",
        "\u0661",
        "2hago",
        "2h 3",
        "14:00",
        "nan",
        "1_000",
        "2026-13-01",
        "2026-11-21T25:00",
        "1295103598000",
        "h",
        "ago",
        "in 2h",
        "1h.5m",
        "500ms",
        "2hs",
    ],
)
def test_refuses_with_one_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        times.parse(text, NOW)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_time_in_range_or_a_value_error(text: str) -> None:
    try:
        seconds = times.parse(text, NOW)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_TIME + 1


@given(st.integers(0, MAX_TIME))
def test_what_is_shown_reads_back(seconds: int) -> None:
    shown = times.show(seconds)
    assert times.parse(shown, NOW) == seconds
    assert datetime.datetime.fromisoformat(shown).timestamp() == seconds


@given(st.integers(0, MAX_TIME), st.decimals(0, MAX_TIME, places=3))
def test_fractions_keep_the_meaning_of_a_bound(stamp: int, bound: object) -> None:
    seconds = times.parse(str(bound), NOW)
    assert (stamp >= float(str(bound))) == (stamp >= seconds)
    assert (stamp < float(str(bound))) == (stamp < seconds)


@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from(sorted(times.UNITS))), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_lengths_of_time_add_up(parts: list[tuple[int, str]], spaced: bool, ago: bool) -> None:
    text = " ".join(f"{n} {unit}" if spaced else f"{n}{unit}" for n, unit in parts)
    total = sum(n * times.UNITS[unit] for n, unit in parts)
    read = times.parse(text + (" ago" if ago else ""), NOW)
    assert read == max(0, math.ceil(NOW - total))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-3, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (7500, "2h 5m"),
        (86400, "1d"),
        (1e6, "11d 13h"),
    ],
)
def test_shows_a_length_of_time(seconds: float, text: str) -> None:
    assert times.show_age(seconds) == text


@pytest.mark.parametrize("value", ["x", None, 1.5, True, 10**30])
def test_shows_what_is_no_time_as_it_is(value: object) -> None:
    assert times.show(value) == str(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2h", 7200), (" 1h30m ", 5400), ("7d", 604800), ("0.5 hours", 1800)],
)
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert times.parse_length(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "2h ago", "-2h", "2x", "5ms", "now", "2026-11-21", "inf"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a length of time"):
        times.parse_length(text)


def test_a_date_is_no_length_of_time() -> None:
    """As in ``--older 20261121``, which was 234 days."""
    with pytest.raises(ValueError, match="'20261121' looks like a date"):
        times.parse_length("20261121")
    assert times.parse_length("31536000") == 31536000


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2026", "2026-01-01"),
        ("202611", "2026-11-01"),
        ("2026325", "2026-11-21"),
        ("2026112114", "2026-11-21T14:00:00"),
        ("202611211430", "2026-11-21T14:30:00"),
        ("20261121143005", "2026-11-21T14:30:05"),
        ("261121", "2026-11-21"),
        ("211126", "2026-11-21"),
        ("112126", "2026-11-21"),
        ("21112026", "2026-11-21"),
        ("20261321", "2026-11-21"),
        ("20260230", "2026-11-21"),
    ],
)
def test_digits_that_look_like_a_date_are_refused_with_the_right_form(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match="looks like a date") as caught:
        times.parse(text, NOW)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["0", "1", "999", "1000", "86400", "999999", "1295103598"])
def test_other_digits_are_unix_seconds(text: str) -> None:
    assert times.parse(text, NOW) == int(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21 15:47", 1795276020),
        ("2026-11-21T15:47+01:00", 1795272420),
        ("2026-11-21", 1795219200),
        ("20261121", 1795219200),
        ("today", 1795219200),
        ("yesterday", 1795132800),
    ],
)
def test_reads_utc_where_it_is_asked_to(text: str, expected: int) -> None:
    assert times.parse(text, NOW, utc=True) == expected


def test_what_is_shown_in_utc_is_read_in_utc() -> None:
    shown = times.show_utc(1782900000)
    assert shown == "2026-07-01 10:00:00 UTC"
    assert times.parse(shown.removesuffix(" UTC"), NOW, utc=True) == 1782900000
    assert times.parse(shown, NOW, utc=True) == 1782900000


def test_an_error_names_the_zone() -> None:
    with pytest.raises(ValueError, match="without Z or an offset it is UTC"):
        times.parse("noon", NOW, utc=True)
    with pytest.raises(ValueError, match="without Z or an offset it is local time"):
        times.parse("noon", NOW)


@pytest.mark.parametrize("odd", [1e30, float("nan"), None, True, "x"])
def test_what_is_no_time_is_shown_as_it_is(odd: object) -> None:
    assert times.show_utc(odd) == str(odd)

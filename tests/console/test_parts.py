"""Parts of the console's pages: what is wrong, in words; how plots are drawn; what is kept."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.console import kept as keeping
from habitat_like.console.drawing import MONDAY, SIZES, WEEK, Plot, draw, of_series
from habitat_like.console.kept import Kept
from habitat_like.console.stations import clock_words, place_words
from habitat_like.statistics import Backlog, DiskOutlook, Latency, Series, troubles
from habitat_like.statistics.status import Status
from habitat_like.statistics.tables import DAY, HOUR, MINUTE
from habitat_like.statistics.troubles import Facts, Trend
from habitat_like.statistics.words import size
from tests.support.gateway import ARCHIVE_SINK
from tests.support.wait import PATIENCE

NOW = 1_795_280_400
GB = 1_000_000_000


# -- what is wrong


def sink(**changes: Any) -> dict[str, Any]:
    return {"state": "ok", "problem": None, "problem_since": None, "backlog": 0, **changes}


def series(counts: Sequence[int], step: int = MINUTE) -> Series:
    """Messages of one type in the steps before NOW."""
    begin = NOW - len(counts) * step
    times = tuple(range(begin, NOW, step))
    return Series(step, times, {"RECEIVED_TELEM": tuple(counts)} if any(counts) else {})


def samples(messages: Sequence[int]) -> list[Backlog]:
    """The backlog at the end of the minutes before NOW."""
    begin = NOW - len(messages) * MINUTE
    return [Backlog(begin + at * MINUTE, count, count) for at, count in enumerate(messages)]


def find(status: dict[str, Any] | None = None, **changes: Any) -> list[tuple[str, str]]:
    """The troubles of a gateway that is well but for what is given: level and text."""
    well = {
        "state": "ready",
        "started": NOW - DAY,
        "backlog": 0,
        "max_backlog": 1_000_000,
        "dead_letters": 0,
        "sinks": {ARCHIVE_SINK: sink()},
        "statistics": {"problem": None, "behind": 0},
    }
    told = msgspec.convert({**well, **(status or {})}, Status)
    if told.archive is None:
        told = msgspec.structs.replace(told, archive=told.sinks.get(ARCHIVE_SINK))
    facts: dict[str, Any] = {
        "now": NOW,
        "status": told,
        "minutes": series([5] * 1440),
        "backlog": samples([0] * 1440),
        "latency": Latency(NOW, 100, 0.001, 0.005),
        "disks": [DiskOutlook(NOW, "journal", 500 * GB, 1000 * GB, 1e6, 500_000)],
        "ever": 7200,
        "last_heard": NOW - 3,
        **changes,
    }
    return [(one.level, one.text) for one in troubles.find(Facts(**facts))]


def test_a_gateway_that_is_well_has_no_troubles() -> None:
    assert find() == []
    nothing_yet: dict[str, Any] = {"minutes": series([0] * 1440), "ever": 0, "last_heard": None}
    assert find(**nothing_yet) == []


def test_stations_that_are_not_served_come_first() -> None:
    found = find({"state": "the backlog is full", "dead_letters": 1})
    assert [level for level, _ in found] == ["error", "warning"]
    assert "Uploads are refused (503): the backlog is full." in found[0][1]


def test_maintenance_is_told_with_its_message_and_since_when() -> None:
    maintenance = {
        "status": 503,
        "since": NOW - 2 * HOUR,
        "message": "back at noon",
        "location": None,
    }
    ((_, text),) = find({"state": "maintenance: back at noon", "maintenance": maintenance})
    assert "Maintenance has been on for 2h: stations get a 503, “back at noon”." in text
    ((_, text),) = find(
        {"state": "maintenance", "maintenance": {**maintenance, "location": "https://b.example/"}}
    )
    assert "stations are sent to https://b.example/" in text


def test_an_archive_that_is_down_tells_since_when_and_how_long_the_journal_lasts() -> None:
    down = sink(state="waiting", problem="CouchDB: refused", problem_since=NOW - HOUR, backlog=300)
    ((level, text),) = find({"sinks": {ARCHIVE_SINK: down}, "backlog": 300})
    assert level == "error"
    assert text.startswith("The archive can't be used for 1h: CouchDB: refused. 300 messages wait")
    # 5 messages a minute come in.
    assert "room for 999,700 more, enough for 138d 20h at the present rate;" in text
    full = {"sinks": {ARCHIVE_SINK: down}, "backlog": 1_000_000, "max_backlog": 1_000_000}
    assert find(full)[0][1].endswith("The journal is full.")
    ((_, text),) = find({"sinks": {"own.Sink": down}})
    assert text.startswith("The sink own.Sink can't be used")


@pytest.mark.parametrize(
    ("backlog", "waiting", "told"),
    [
        ([0] * 30, 50, []),
        ([5000] * 30, 5000, []),
        ([9000 - 100 * at for at in range(31)], 6000, []),
        ([1000 * at for at in range(31)], 30_000, ["warning: 30,000 messages wait, 1,000 more"]),
        ([30_000 * at for at in range(31)], 900_000, ["error: It will be full in 3m 20s"]),
        ([900_000] * 31, 900_000, ["error: nearly full"]),
    ],
)
def test_a_backlog_that_grows_is_told_before_it_is_full(
    backlog: list[int], waiting: int, told: list[str]
) -> None:
    found = find({"backlog": waiting}, backlog=samples(backlog))
    assert len(found) == len(told)
    for (level, text), wanted in zip(found, told, strict=True):
        assert wanted.partition(": ")[0] == level
        assert wanted.partition(": ")[2] in text


def test_the_trend_of_the_backlog_has_a_word() -> None:
    def trend(waiting: int, messages: list[int]) -> Trend:
        return troubles.trend(Status(backlog=waiting, max_backlog=10_000), samples(messages))

    assert trend(0, [500] * 30).word == "empty"
    assert trend(550, [500, 550]).word == "steady"
    assert trend(500, []).word == "steady"
    assert trend(1000, [4000, 1000]).word == "shrinking"
    assert trend(4000, [1000, 2000, 4000]) == Trend("growing", 1500, 240)


def test_a_silence_that_is_not_usual_is_told() -> None:
    quarter: dict[str, Any] = {"last_heard": NOW - 15 * MINUTE}
    ((level, text),) = find(minutes=series([5] * 1425 + [0] * 15), **quarter)
    assert level == "error"
    assert text.startswith("No message for 15m; the longest pause in the day before was")
    # Where one comes every ten minutes, fifteen without are nothing special.
    sparse = series(([1] + [0] * 9) * 142 + [1] + [0] * 19)
    assert find(minutes=sparse, **quarter) == []
    # Nor are they after a start, nor where it was never otherwise.
    assert find({"started": NOW - 60}, minutes=series([5] * 1425 + [0] * 15), **quarter) == []
    assert find(minutes=series([0] * 1400 + [5] * 25 + [0] * 15), **quarter) == []
    ((level, text),) = find(minutes=series([0] * 1440), last_heard=NOW - 30 * HOUR)
    assert (level, text) == ("warning", "No message for 1d 6h.")


def test_minutes_in_which_the_gateway_did_not_run_are_no_silence() -> None:
    minutes = series([5] * 600 + [0] * 300 + [5] * 525 + [0] * 15)
    ran = [one for at, one in enumerate(samples([0] * 1440)) if not 600 <= at < 900]
    quarter: dict[str, Any] = {"minutes": minutes, "last_heard": NOW - 15 * MINUTE}
    assert len(find(backlog=ran, **quarter)) == 1
    assert find(**quarter) == []


@pytest.mark.parametrize(
    ("disk", "level", "says"),
    [
        (DiskOutlook(NOW, "journal", 50 * GB, 99 * GB, 10.0 * GB, 5.0), "warning", "in 5.0 days"),
        (DiskOutlook(NOW, "journal", 20 * GB, 99 * GB, 10.0 * GB, 2.0), "error", "20.0 GB left"),
        (
            DiskOutlook(NOW, "archive", GB, 99 * GB, None, None),
            "error",
            "messages wait in the journal",
        ),
        (DiskOutlook(NOW, "archive and journal", GB, 25 * GB, -1.0, None), "warning", "refused"),
    ],
)
def test_a_disk_that_fills_is_told_with_what_happens_then(
    disk: DiskOutlook, level: str, says: str
) -> None:
    ((found, text),) = find(disks=[disk])
    assert found == level
    assert says in text


def test_dead_letters_slow_answers_and_old_figures_are_told() -> None:
    found = find(
        {"dead_letters": 2, "statistics": {"problem": "disk full", "behind": 0}},
        latency=Latency(NOW, 100, 0.1, 2.5),
    )
    texts = " ".join(text for _, text in found)
    assert {level for level, _ in found} == {"warning"}
    assert "2 messages were refused for good" in texts
    assert "one in a hundred took over 2.5 s" in texts
    assert "The statistics are out of date: disk full." in texts
    ((_, text),) = find({"statistics": {"problem": None, "behind": 1_000_000}})
    assert "1,000,000 messages are not counted yet" in text


def test_words_for_sizes_clocks_and_places() -> None:
    assert [size(n) for n in (0, 999, 1500, 3.2e9, 123e9, 5e12, 7e15)] == [
        "0 bytes", "999 bytes", "1.5 kB", "3.2 GB", "123 GB", "5.0 TB", "7,000.0 TB",
    ]  # fmt: skip
    assert [clock_words(n) for n in (None, 0, -2, 12, -7200)] == [
        "unknown", "right", "right", "12s ahead", "2h behind",
    ]  # fmt: skip
    assert place_words(-52.2, 0.12, 1234.5) == "52.20000° S, 0.12000° E, 1,234 m"


# -- plots


@given(
    counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=80),
    step=st.sampled_from([MINUTE, HOUR, DAY]),
    by=st.integers(1, 9),
)
def test_coarser_steps_hold_the_same_messages(counts: list[int], step: int, by: int) -> None:
    fine = series([*counts, 1], step)
    plot = of_series(fine, by * step, title="t", unit="u")
    assert sum(filter(None, plot.series["RECEIVED_TELEM"])) == sum(counts) + 1
    origin = MONDAY if by * step == WEEK else 0
    assert all((at - origin) % (by * step) == 0 for at in plot.times)
    assert list(plot.times) == sorted(set(plot.times))


def test_a_mean_counts_only_the_time_that_a_step_has() -> None:
    # The last quarter of an hour began five minutes ago.
    minutes = Series(MINUTE, tuple(range(0, 20 * MINUTE, MINUTE)), {"A": (3,) * 20})
    plot = of_series(minutes, 15 * MINUTE, title="t", unit="u", per=MINUTE)
    assert (plot.times, plot.series) == ((0, 900), {"A": (3.0, 3.0)})


SVG = "{http://www.w3.org/2000/svg}"


def image(plot: Plot, size: str = "large") -> ET.Element:
    return ET.fromstring(draw(plot, size))


def texts(root: ET.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


@settings(max_examples=30)
@given(
    names=st.lists(st.text("<&>'\"\u2028Ab1", min_size=1), max_size=5, unique=True),
    count=st.integers(0, 40),
    step=st.sampled_from([MINUTE, 15 * MINUTE, HOUR, 2 * HOUR, DAY, WEEK]),
    stacked=st.booleans(),
    size=st.sampled_from(list(SIZES)),
    data=st.data(),
)
def test_any_numbers_can_be_drawn(
    names: list[str], count: int, step: int, stacked: bool, size: str, data: st.DataObject
) -> None:
    number = st.integers(0, 10**12) | st.floats(0, 1e9)
    value = number if stacked else number | st.none()
    row = st.lists(value, min_size=count, max_size=count).map(tuple)
    plot = Plot(
        title="<title> & more",
        unit="<unit>",
        step=step,
        times=tuple(range(NOW, NOW + count * step, step)),
        series={name: data.draw(row) for name in names},
        stacked=stacked,
    )
    root = image(plot, size)
    assert root.get("viewBox") == "0 0 {} {}".format(*SIZES[size])


def test_a_plot_has_axes_units_a_legend_and_a_title() -> None:
    plot = of_series(series([5] * 60), MINUTE, title="Messages a minute", unit="messages a minute")
    shown = texts(image(plot))
    for text in (
        "Messages a minute",
        "messages a minute",
        "RECEIVED_TELEM",
        "0",
        "5",
        "time (UTC)",
    ):
        assert any(text in one for one in shown), text
    assert sum(":" in one for one in shown) == 6  # every ten minutes


def test_a_plot_is_an_image_and_nothing_else() -> None:
    drawn = draw(of_series(series([1, 2, 3]), MINUTE, title="t", unit="u")).decode()
    assert "<script" not in drawn
    assert "href" not in drawn
    assert "url(" not in drawn
    # The names of XML's vocabularies look like addresses, and are none.
    assert re.sub(r'xmlns(:xlink)?="[^"]*"', "", drawn).count("://") == 0
    assert "prefers-color-scheme:dark" in drawn


def test_no_line_lies_on_areas_that_add_up() -> None:
    areas, lines = (
        draw(
            Plot(title="t", unit="u", step=60, times=(0, 60), series={"a": (1, 2)}, stacked=stacked)
        ).decode()
        for stacked in (True, False)
    )
    assert ".series .reactive{stroke:none" in areas
    assert ".series .reactive{stroke:none" not in lines


def test_a_lone_value_is_seen() -> None:
    lone = {"backlog": (None, 5, None)}
    plot = Plot(title="t", unit="u", step=1, times=(0, 1, 2), series=lone, stacked=False)
    assert len(list(image(plot).iter(f"{SVG}circle"))) == 1


def test_without_numbers_there_is_no_axis_that_lies() -> None:
    plot = Plot(title="Backlog", unit="messages", step=60, times=(), series={})
    shown = texts(image(plot))
    assert "nothing to show" in shown
    assert not any(text[:1].isdigit() for text in shown)


def test_what_is_counted_has_no_halves_on_its_axis() -> None:
    shown = texts(image(of_series(series([0, 1, 2]), MINUTE, title="t", unit="u")))
    assert {"1", "2"} <= set(shown)
    assert not any("." in one for one in shown)


def test_a_type_has_one_colour_in_all_plots() -> None:
    def rule(*names: str) -> str:
        plot = Plot(title="t", unit="u", step=1, times=(0, 1), series=dict.fromkeys(names, (1, 2)))
        style = image(plot).find(f".//{SVG}style")
        assert style is not None
        at = list(names).index("TELEM")
        return (style.text or "").partition(f".color-{at}{{")[2].partition("}")[0]

    assert rule("TELEM") == rule("RECEIVED_TELEM", "TELEM") == rule("OWN", "TELEM")


# -- what is kept


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_fresh_is_made_once() -> None:
    clock = Clock()
    kept = Kept(clock)
    made = iter(range(100))
    assert [kept.get("a", lambda: next(made), 10) for _ in range(3)] == [0, 0, 0]
    assert kept.get("b", lambda: next(made), 10) == 1
    clock.now = 10.0
    assert kept.get("a", lambda: next(made), 10) == 2


def test_several_who_want_the_same_wait_for_one_who_makes_it() -> None:
    kept = Kept()
    begun, go = threading.Event(), threading.Event()
    made: list[int] = []
    got: list[int] = []

    def make() -> int:
        begun.set()
        assert go.wait(PATIENCE)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=lambda: got.append(kept.get("a", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(PATIENCE)
    assert kept.get("b", lambda: 7) == 7  # others need not wait
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert got == [1, 1, 1, 1]


def test_what_fails_is_tried_again() -> None:
    kept = Kept()
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)
    assert kept.get("a", lambda: 1) == 1


def test_what_is_old_is_not_kept() -> None:
    clock = Clock()
    kept = Kept(clock)
    for number in range(10):
        kept.get(number, lambda: 1, 10)
    clock.now = 10.0
    kept.get("new", lambda: 1, 10)
    assert len(kept) == 1


def test_images_that_are_kept_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MAX_BYTES", 25)
    monkeypatch.setattr(keeping, "MAX_KEPT", 4)
    kept = Kept()
    for name in "abc":
        kept.get(name, lambda: b"x" * 10)
    assert kept.get("a", lambda: b"new") == b"new"
    assert kept.get("c", lambda: b"new") == b"x" * 10
    for number in range(4):
        kept.get(number, lambda: 1)
    assert kept.get("c", lambda: b"newer") == b"newer"

"""Plots as SVG images, drawn by pygal. No I/O.

pygal draws in plain Python: a plot has at most ``MAX_POINTS`` points a series, and only one is
drawn at a time, as all of them use the interpreter, which uploads need.
"""

from __future__ import annotations

import datetime
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pygal
from pygal.style import Style

from habitat_like.statistics import Series
from habitat_like.statistics.tables import DAY, HOUR

WEEK = 7 * DAY
#: The first Monday of UNIX time.
MONDAY = 4 * DAY
#: Points that a series has at most.
MAX_POINTS = 100
#: Width and height in pixels, usual and on a telephone.
SIZES = {"large": (640, 320), "small": (360, 310)}

# Held while a plot is drawn.
_drawing = threading.Lock()


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers over time.

    ``times`` are the first seconds of steps of ``step`` seconds, ascending; each series has as many
    values, in ``unit``, None where there is none. ``stacked`` series add up to a total. Times are
    told in UTC. The upward axis begins at 0 with ``from_zero``, else near the lowest value.
    """

    title: str
    unit: str
    step: int
    times: tuple[int, ...]
    series: Mapping[str, tuple[float | None, ...]]
    stacked: bool = True
    from_zero: bool = True


def of_series(series: Series, step: int, *, title: str, unit: str, per: int | None = None) -> Plot:
    """A plot of messages by type in steps of ``step`` seconds, which are several of the series'.

    With ``per``, the mean number in so many seconds instead of the sum. Steps begin at multiples
    of ``step``, weeks on Mondays; the first and the last may be of less time.
    """
    origin = MONDAY if step == WEEK else 0
    begins = [at - (at - origin) % step for at in series.times]
    times = tuple(dict.fromkeys(begins))
    widths = Counter(begins)
    columns: dict[str, tuple[float | None, ...]] = {}
    for name in in_order(series.types):
        counts = series.types[name]
        sums = dict.fromkeys(times, 0)
        for begin, count in zip(begins, counts, strict=True):
            sums[begin] += count
        columns[name] = tuple(
            sums[at] * per / (widths[at] * series.step) if per else sums[at] for at in times
        )
    return Plot(title=title, unit=unit, step=step, times=times, series=columns)


def in_order(names: Iterable[str]) -> list[str]:
    """The names of series as all plots have them: types that are known first."""
    return sorted(names, key=lambda name: (_KNOWN.get(name, len(_KNOWN)), name))


def draw(plot: Plot, size: str = "large") -> bytes:
    """The plot as an SVG image: no script, no link to anywhere, for a light and a dark screen."""
    width, height = SIZES[size]
    labels = _labels(plot.times, plot.step, narrow=size == "small")
    scale = _scale(plot)
    # As many legend columns as its longest name allows.
    longest = max(map(len, plot.series), default=0)
    columns = min(max(int((width - 80) / (9 * longest + 30)), 1), len(plot.series) or 1)
    # The library makes room for fewer rows of the legend than it may draw.
    rows_missing = -(-len(plot.series) // columns) - max(len(plot.series) // columns, 1)
    chart = (pygal.StackedLine if plot.stacked else pygal.Line)(
        width=width,
        height=height,
        margin=8,
        margin_right=16,
        margin_bottom=8 + 20 * max(rows_missing, 0),
        spacing=6,
        style=_STYLE,
        css=(f"inline:{_CSS}{_AREAS if plot.stacked else ''}{_colours(list(plot.series))}",),
        js=(),
        no_prefix=True,
        explicit_size=True,
        disable_xml_declaration=True,
        title=plot.title,
        y_title=plot.unit,
        x_title=zone(plot.step),
        x_labels=labels,
        x_labels_major=[label for label in labels if label],
        show_minor_x_labels=False,
        show_x_guides=True,
        truncate_label=-1,
        y_labels=scale if plot.series else None,
        show_y_labels=bool(plot.series),
        # A label at the very top would be omitted.
        range=(scale[0], scale[-1] + 0.02 * (scale[-1] - scale[0])),
        value_formatter=number,
        show_legend=plot.stacked or len(plot.series) > 1,
        legend_at_bottom=True,
        legend_at_bottom_columns=columns,
        legend_box_size=11,
        truncate_legend=-1,
        # A line needs two adjacent points.
        show_dots=not plot.stacked and _is_sparse(plot),
        dots_size=2,
        fill=plot.stacked,
        allow_interruptions=not plot.stacked,
        no_data_text="nothing to show",
    )
    chart.add_xml_filter(_tidy)
    for name, values in plot.series.items():
        chart.add(name, values)
    with _drawing:
        image: str = chart.render(is_unicode=True)
    return image.encode()


_FONT = 'system-ui, "DejaVu Sans", sans-serif'
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    font_family=_FONT,
    label_font_size=14,
    major_label_font_size=14,
    title_font_size=15,
    legend_font_size=14,
    no_data_font_size=16,
)
#: What lines and areas are drawn in, for a light and a dark screen: told apart also by those who
#: can't see red or green (the palette of Okabe and Ito, darker and lighter).
_HUES = (
    ("#0072b2", "#56b4e9"),
    ("#b85a00", "#f0a73a"),
    ("#007a58", "#2fc796"),
    ("#a8487f", "#e59ac6"),
    ("#6b6b00", "#e0d84a"),
    ("#555f66", "#aab4bb"),
)
#: Which of them a series has, wherever it is drawn; the others have the last ones in turn.
_KNOWN = {
    "RECEIVED_TELEM": 0,
    "LISTENER_TELEM": 1,
    "LISTENER_INFO": 2,
    "TELEM": 3,
}
_LIGHT = ";".join(f"--hue{at}:{light}" for at, (light, _) in enumerate(_HUES))
_DARK = ";".join(f"--hue{at}:{dark}" for at, (_, dark) in enumerate(_HUES))
_CSS = (
    f":root{{--text:#1b2329;--soft:#56626b;--line:#d5dbdf;{_LIGHT}}}"
    "@media (prefers-color-scheme:dark){"
    f":root{{--text:#e4e9ec;--soft:#a0acb5;--line:#35414a;{_DARK}}}}}"
    ".background{fill:none}text{fill:var(--soft)}.title,.no_data{text-anchor:middle}"
    "text.title{font-size:14px}text.plot_title{fill:var(--text);font-size:16px;font-weight:600}"
    ".legends text{fill:var(--text)}.axis.x text,.no_data{text-anchor:middle}"
    ".axis.y text{text-anchor:end}.axis .line{fill:none;stroke:var(--soft)}"
    ".axis .guide.line{stroke:var(--line)}"
    ".reactive{stroke-width:1.75;fill-opacity:.35}.legend .reactive{fill-opacity:.7}"
    "text{fill-opacity:1;stroke:none}.nofill{fill:none}"
)
#: Areas that add up have no line: the one on top would hide those that have nothing to add.
_AREAS = ".series .reactive{stroke:none;fill-opacity:.75}"


def _colours(names: Sequence[str]) -> str:
    """The rules that give each series its colour."""
    free = iter(at for at in range(len(_HUES)) if at not in {_KNOWN.get(name) for name in names})
    hues = [_KNOWN[name] if name in _KNOWN else next(free, len(_HUES) - 1) for name in names]
    return "".join(
        f".color-{at}{{stroke:var(--hue{hue});fill:var(--hue{hue})}}" for at, hue in enumerate(hues)
    )


def _tidy(root: Any) -> Any:
    """Remove from the tree what is useless in an image: scripts, tooltips and comments."""
    for parent in list(root.iter()):
        for child in list(parent):
            # A comment has a function in place of a tag.
            is_text = not isinstance(child.tag, str) or child.tag in ("script", "desc")
            if is_text or child.get("class") == "plot tooltip-overlay":
                parent.remove(child)
    return root


def _is_sparse(plot: Plot) -> bool:
    known = [value for values in plot.series.values() for value in values if value is not None]
    return len(known) <= 3 * len(plot.series)


def _scale(plot: Plot) -> list[float]:
    """The labels of the upward axis: up to six round steps, from below all values to above."""
    columns = list(plot.series.values())
    if plot.stacked:
        columns = [tuple(sum(filter(None, values)) for values in zip(*columns, strict=True))]
    known = [value for column in columns for value in column if value is not None]
    low, top = min(known, default=0), max(known, default=0)
    if plot.from_zero:
        low, top = min(low, 0), max(top, 0)
    wide = top - low or abs(top) or 1
    power = 10.0 ** math.floor(math.log10(wide))
    step = next(unit * power for unit in (0.2, 0.5, 1, 2) if wide <= 5 * unit * power)
    if all(isinstance(value, int) for value in known):
        step = max(step, 1)  # there are no halves of what is counted
    first, last = math.floor(low / step), math.ceil(top / step)
    return [at * step for at in range(first, max(last, first + 1) + 1)]


def _labels(times: Sequence[int], step: int, *, narrow: bool) -> list[str]:
    """A text for each time: empty but for round ones, few enough to be read."""
    length = times[-1] - times[0] + step if times else 0
    form, wanted = _round(length, step, narrow)
    return [when.strftime(form) if wanted(when) else "" for when in _dates(times)]


def _round(length: int, step: int, narrow: bool) -> tuple[str, Callable[[datetime.datetime], bool]]:
    """How round times are written over ``length`` seconds in steps of ``step``, and which are."""
    if length <= 2 * HOUR:
        minutes = 20 if narrow else 10
        return "%H:%M", lambda when: when.minute % minutes == 0 and when.second < step
    if length <= 2 * DAY:
        hours = (2 if narrow else 1) if length <= 8 * HOUR else 6 if narrow else 3
        return "%H:%M", lambda when: _is_on_the_hour(when, hours, step)
    if step < DAY:
        return "%d" if narrow else "%a %d", lambda when: when.hour * HOUR < step
    if length <= 10 * DAY:
        return "%d" if narrow else "%a %d", lambda _: True
    if length <= 70 * DAY:
        days = 10 if narrow else 5
        return "%d %b", lambda when: when.day % days == 1 and when.day < 30
    months = 3 if narrow else 1
    return "%b", lambda when: when.day * DAY <= step and when.month % months == 1 % months


def _is_on_the_hour(when: datetime.datetime, hours: int, step: int) -> bool:
    """Whether a step has one of every so many ``hours`` in it."""
    return when.hour % hours == 0 and when.minute * 60 + when.second < step


def moments(times: Sequence[int], step: int) -> list[str]:
    """Times as the table of a plot has them."""
    form = "%Y-%m-%d" if step >= DAY else "%Y-%m-%d %H:%M"
    form += ":%S" if step % 60 else ""
    return [when.strftime(form) for when in _dates(times)]


def _dates(times: Sequence[int]) -> list[datetime.datetime]:
    return [datetime.datetime.fromtimestamp(at, datetime.UTC) for at in times]


def zone(step: int) -> str:
    """What the times of steps of so many seconds are."""
    if step < DAY:
        return "time (UTC)"
    return "day (UTC)" if step == DAY else f"{step // DAY} days from (UTC)"


def number(value: float | None) -> str:
    """A number as short as is right: thousands apart, three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.3g}"

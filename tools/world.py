"""Makes the map's coast lines and borders: ``python tools/world.py COUNTRIES.json OUTPUT.json``.

The first is ``countries-50m.json`` of the npm package ``world-atlas`` (``npm pack world-atlas``),
which has Natural Earth's countries as TopoJSON (https://github.com/topojson/topojson-specification).
The output has rings of land, and the borders between countries, in hundredths of a degree: the
first longitude and latitude of a line, and then the differences from point to point.
"""

from __future__ import annotations

import collections
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Point = tuple[int, int]

#: Parts of a degree: 1.1 km, less than the error of lines at 1:50,000,000.
SCALE = 100
TURN = 360 * SCALE
SOURCE = "Natural Earth 4.1, 1:50m (public domain), by way of world-atlas 2.0.2 (ISC licence)"


def main(countries: str, output: str) -> None:
    """Read the one file and write the other."""
    world = convert(json.loads(Path(countries).read_text(encoding="utf-8")))
    text = json.dumps(world, separators=(",", ":"))
    Path(output).write_text(f"{text}\n", encoding="utf-8")


def convert(topology: dict[str, Any]) -> dict[str, Any]:
    """The rings of land and the borders of a topology."""
    arcs = [list(_arc(topology["transform"], arc)) for arc in topology["arcs"]]
    used = collections.Counter(
        number if number >= 0 else ~number
        for country in topology["objects"]["countries"]["geometries"]
        for ring in _rings(country)
        for number in ring
    )
    (land,) = topology["objects"]["land"]["geometries"]
    rings = [part for ring in _rings(land) for part in _around(_join(arcs, ring))]
    shared = [arcs[number] for number, times in sorted(used.items()) if times > 1]
    borders = [part for arc in shared for part in _around(arc)]
    return {
        "source": SOURCE,
        "scale": SCALE,
        "land": [line for ring in rings if len(line := _differences(ring)) >= 8],
        "borders": [line for arc in borders if len(line := _differences(arc)) >= 4],
    }


def _arc(transform: dict[str, Any], arc: list[list[int]]) -> Iterator[Point]:
    """The points of an arc: integers that add up, to be scaled and moved."""
    x = y = 0
    (x_scale, y_scale), (x_move, y_move) = transform["scale"], transform["translate"]
    for along, up, *_ in arc:
        x, y = x + along, y + up
        yield round((x * x_scale + x_move) * SCALE), round((y * y_scale + y_move) * SCALE)


def _rings(geometry: dict[str, Any]) -> Iterator[list[int]]:
    """The rings of a geometry, as numbers of arcs; a negative one is an arc backwards."""
    kind = geometry.get("type")
    if kind in ("MultiPolygon", "Polygon"):
        polygons = geometry["arcs"] if kind == "MultiPolygon" else [geometry["arcs"]]
        for polygon in polygons:
            yield from polygon


def _join(arcs: list[list[Point]], ring: list[int]) -> list[Point]:
    points: list[Point] = []
    for number in ring:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        points += arc[1:] if points else arc
    return points


def _around(line: list[Point]) -> list[list[Point]]:
    """A line without leaps: one across the antimeridian twice, beyond 180 degrees on each side."""
    found = [line[0]]
    for x, y in line[1:]:
        turns = round((found[-1][0] - x) / TURN)
        found.append((x + turns * TURN, y))
    if line[0] == line[-1] and found[0] != found[-1]:
        return [line]  # around a pole: Antarctica goes along the edges of the map
    beyond = {(abs(x) > TURN // 2) * (1 if x > 0 else -1) for x, _ in found} - {0}
    return [found, *([(x - side * TURN, y) for x, y in found] for side in beyond)]


def _differences(points: list[Point]) -> list[int]:
    """The first point, and then from each to the next that differs."""
    (x, y), *others = points
    found = [x, y]
    for along, up in others:
        if (along, up) != (x, y):
            found += [along - x, up - y]
            x, y = along, up
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])

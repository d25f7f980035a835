"""KML 2.2 (https://docs.ogc.org/is/07-147r2/): a folder for each payload.

In it are its track, a line for each flight, and all of its positions with their times and values.
"""

from __future__ import annotations

from collections.abc import Generator

from habitat_like.export import flat
from habitat_like.export.flat import Row
from habitat_like.export.form import Form, Part
from habitat_like.export.gpx import broken_xml
from habitat_like.export.source import Source
from habitat_like.export.spool import Extent, Spool
from habitat_like.export.tracks import Point, Tracks, number, parts_flight, text

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2">
<Document>
<name>habitat</name>
<Style id="track"><LineStyle><color>ff0055ff</color><width>2</width></LineStyle></Style>
<Style id="position"><IconStyle><scale>0.5</scale></IconStyle><LabelStyle><scale>0</scale>\
</LabelStyle></Style>
"""
_TOLD = frozenset(("time", "payload", "latitude", "longitude", "altitude", "id", "gateway", "ip"))


def _write(source: Source, most: int | None) -> Generator[Part, None, None]:
    yield Part(_HEAD.encode(), 0)
    with Spool(most) as spool:
        tracks = Tracks(spool)
        yield from tracks.read(source)
        for name, extent in tracks.each():
            yield Part(f"<Folder>\n<name>{text(name)}</name>\n{_span(extent)}".encode(), 0)
            yield from _line(tracks, name, extent)
            for batch in tracks.points(name):
                yield Part("".join([_placemark(point) for point in batch]).encode(), 0)
            yield Part(b"</Folder>\n", 0)
    yield Part(b"</Document>\n</kml>\n", 0)


def _line(tracks: Tracks, name: str, extent: Extent) -> Generator[Part, None, None]:
    """The track, if it has two points. A leg is a line that neither a gap nor 180 degrees cut."""
    mode = "absolute" if extent.has_heights else "clampToGround"
    head = (
        f"<Placemark>\n<name>{text(name)}</name>\n{_span(extent)}<styleUrl>#track</styleUrl>\n"
        "<MultiGeometry>\n"
    )
    leg = (
        f"<LineString>\n<tessellate>{int(not extent.has_heights)}</tessellate>\n"
        f"<altitudeMode>{mode}</altitudeMode>\n<coordinates>\n"
    )
    end = "</coordinates>\n</LineString>\n"
    last: Point | None = None
    is_begun = is_in_leg = False
    for batch in tracks.points(name):
        pieces = []
        for point in batch:
            if last is not None and _parts_leg(last, point):
                pieces.append(end if is_in_leg else "")
                is_in_leg = False
            elif last is not None:
                if not is_in_leg:
                    pieces += ["" if is_begun else head, leg, _coordinates(last), "\n"]
                    is_begun = is_in_leg = True
                pieces += [_coordinates(point), "\n"]
            last = point
        yield Part("".join(pieces).encode(), 0)
    if is_begun:
        rest = (end if is_in_leg else "") + "</MultiGeometry>\n</Placemark>\n"
        yield Part(rest.encode(), 0)


def _parts_leg(before: Point, after: Point) -> bool:
    return parts_flight(before, after) or abs(after.longitude - before.longitude) > 180


def _placemark(point: Point) -> str:
    time = flat.iso(point.time)
    mode = "clampToGround" if point.altitude is None else "absolute"
    name, stamp = "", ""
    if time is not None:
        name = f"<name>{time}</name>"
        stamp = f"<TimeStamp><when>{time}</when></TimeStamp>"
    return (
        f"<Placemark>{name}{stamp}<styleUrl>#position</styleUrl>{_values(point.row)}"
        f"<Point><altitudeMode>{mode}</altitudeMode>"
        f"<coordinates>{_coordinates(point)}</coordinates></Point></Placemark>\n"
    )


def _values(row: Row) -> str:
    cells = [
        f'<Data name="{_attribute(name)}"><value>{text(flat.show(cell))}</value></Data>'
        for name, cell in row.items()
        if name not in _TOLD
    ]
    return f"<ExtendedData>{''.join(cells)}</ExtendedData>" if cells else ""


def _attribute(name: str) -> str:
    return text(name).replace('"', "&quot;")


def _coordinates(point: Point) -> str:
    place = [number(point.longitude, 7), number(point.latitude, 7)]
    if point.altitude is not None:
        place.append(number(point.altitude, 3))
    return ",".join(place)


def _span(extent: Extent) -> str:
    first, last = flat.iso(extent.first), flat.iso(extent.last)
    if first is None or last is None:
        return ""
    return f"<TimeSpan><begin>{first}</begin><end>{last}</end></TimeSpan>\n"


KML = Form(
    suffix="kml",
    mimetype="application/vnd.google-earth.kml+xml",
    write=_write,
    is_in_order=True,
    idle=b"\n",
    broken=broken_xml,
)

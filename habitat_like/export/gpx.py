"""GPX 1.1 (https://www.topografix.com/GPX/1/1/): a track for each payload, a segment a flight."""

from __future__ import annotations

from collections.abc import Generator

from habitat_like import __version__
from habitat_like.export import flat
from habitat_like.export.form import Form, Part, not_whole
from habitat_like.export.source import Source
from habitat_like.export.spool import Spool
from habitat_like.export.tracks import Point, Tracks, number, parts_flight, text

_HEAD = f"""<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="habitat_like {__version__}" xmlns="http://www.topografix.com/GPX/1/1">
"""


def _write(source: Source, most: int | None) -> Generator[Part, None, None]:
    yield Part(_HEAD.encode(), 0)
    with Spool(most) as spool:
        tracks = Tracks(spool)
        yield from tracks.read(source)
        for name, _ in tracks.each():
            yield Part(f"<trk>\n<name>{text(name)}</name>\n<trkseg>\n".encode(), 0)
            last: Point | None = None
            for batch in tracks.points(name):
                lines = []
                for point in batch:
                    if last is not None and parts_flight(last, point):
                        lines.append("</trkseg>\n<trkseg>\n")
                    lines.append(_point(point))
                    last = point
                yield Part("".join(lines).encode(), 0)
            yield Part(b"</trkseg>\n</trk>\n", 0)
    yield Part(b"</gpx>\n", 0)


def _point(point: Point) -> str:
    # The schema has longitudes up to, but without, 180.
    longitude = number(point.longitude, 7)
    longitude = "-180" if longitude == "180" else longitude
    inner = ""
    if point.altitude is not None:
        inner = f"<ele>{number(point.altitude, 3)}</ele>"
    if (time := flat.iso(point.time)) is not None:
        inner += f"<time>{time}</time>"
    return f'<trkpt lat="{number(point.latitude, 7)}" lon="{longitude}">{inner}</trkpt>\n'


def broken_xml(reason: str) -> bytes:
    """The end of XML that is not whole: it is never closed, and a comment says why."""
    return f"<!-- {text(not_whole(reason)).replace('--', '- -')} -->\n".encode()


GPX = Form(
    suffix="gpx",
    mimetype="application/gpx+xml",
    write=_write,
    is_in_order=True,
    idle=b"\n",
    broken=broken_xml,
)

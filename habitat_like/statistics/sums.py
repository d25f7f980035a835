"""Sums of messages, built in memory before they are added to the tables. No I/O."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Sequence

import msgspec

from habitat_like.statistics.tables import DAY, HOUR, MINUTE, OTHERS, Statement, insert
from habitat_like.times import MAX_TIME

#: The type under which unreadable documents are counted; none of ours is.
UNREADABLE = "UNREADABLE"
#: Made by sinks of what stations sent: counted by type, but nothing that a station sent.
TELEM = "TELEM"
_OF_NO_STATION = frozenset({TELEM, UNREADABLE})
#: Characters kept of a station's name, location, radio and antenna.
TEXT_LENGTH = 200
#: How many callsigns have their own sums in one hour or day; the others are summed together.
CALLSIGNS = 20_000


class Document(msgspec.Struct, gc=False):
    """What is counted of a document. The defaults are for an unreadable one."""

    id: str = msgspec.field(name="_id", default="")
    type: str = UNREADABLE
    callsign: str = OTHERS
    ip: str | None = None
    time_created: int = 0
    data: msgspec.Raw = msgspec.Raw(b"")


class _Info(msgspec.Struct):
    name: str | None = None
    location: str | None = None
    radio: str | None = None
    antenna: str | None = None


class _Position(msgspec.Struct):
    latitude: float
    longitude: float
    altitude: float


_DOCUMENTS = msgspec.json.Decoder(list[Document])
_DOCUMENT = msgspec.json.Decoder(Document)
_INFO = msgspec.json.Decoder(_Info)
_POSITION = msgspec.json.Decoder(_Position)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class CallsignLimit:
    """Which callsigns have their own sums in an hour or day; bounded because of forged ones.

    ``load`` gives those a bucket has in the tables, ``limit`` is how many it may have.
    """

    def __init__(self, load: Callable[[int], set[str]], limit: int = CALLSIGNS) -> None:
        self._load = load
        self._limit = limit
        self._known: dict[int, set[str]] = {}

    def name(self, bucket: int, callsign: str) -> str:
        """The callsign under which a message in ``bucket`` is counted: its own, or OTHERS."""
        known = self._known.get(bucket)
        if known is None:
            if len(self._known) > 1:  # time moves on: the previous one may still be needed
                del self._known[min(self._known)]
            known = self._known[bucket] = self._load(bucket)
        if callsign not in known:
            if len(known) >= self._limit:
                return OTHERS
            known.add(callsign)
        return callsign


_NO_INFO: tuple[object, ...] = (None,) * 5
_NO_POSITION: tuple[object, ...] = (None,) * 4


class _Heard:
    """What a station's messages say about it; times in UNIX seconds."""

    __slots__ = ("clock_offset", "created", "first", "info", "ip", "last", "messages", "position")

    def __init__(self) -> None:
        self.first = MAX_TIME
        self.last = 0
        self.messages = 0
        self.created = 0
        self.ip: str | None = None
        self.clock_offset: int | None = None
        # Time, name, location, radio, antenna.
        self.info = _NO_INFO
        # Time, latitude, longitude, altitude.
        self.position = _NO_POSITION

    def row(self, callsign: str) -> tuple[object, ...]:
        """Record what every message says."""
        return (
            callsign,
            self.first,
            self.last,
            self.messages,
            self.created,
            self.ip,
            self.clock_offset,
        )


class Sums:
    """What a number of messages add to the tables.

    ``uncorrected`` are types whose times are left as they came: they reveal no clock offset.
    """

    def __init__(
        self, hours: CallsignLimit, days: CallsignLimit, uncorrected: Container[str] = frozenset()
    ) -> None:
        self._uncorrected = uncorrected
        self._hours = hours
        self._days = days
        self._total: Counter[str] = Counter()
        self._minute: Counter[tuple[int, str]] = Counter()
        self._hour: Counter[tuple[int, str]] = Counter()
        self._station_hour: Counter[tuple[int, str, str]] = Counter()
        self._station_day: Counter[tuple[int, str, str]] = Counter()
        self._stations: defaultdict[str, _Heard] = defaultdict(_Heard)
        self.messages = 0

    @property
    def rows(self) -> int:
        """How many rows of tables change."""
        return len(self._station_hour) + len(self._station_day) + len(self._stations)

    @property
    def stations(self) -> int:
        """How many stations were heard."""
        return len(self._stations)

    def add(self, times: Sequence[int], documents: list[Document]) -> None:
        """Count the journal's messages, in order; ``times`` are when they came in."""
        self.messages += len(documents)
        types = [document.type for document in documents]
        callsigns = [document.callsign for document in documents]
        # Most messages that come in together share these three.
        kinds = Counter(zip(times, types, callsigns, strict=True))
        for (time, type_, callsign), count in kinds.items():
            self._add(time, type_, callsign, count)
        present = set(types)
        if present & _OF_NO_STATION or OTHERS in callsigns:
            documents = [
                one for one in documents if one.callsign and one.type not in _OF_NO_STATION
            ]
            callsigns = [document.callsign for document in documents]
        for callsign, document in dict(zip(callsigns, documents, strict=True)).items():
            _note_last(self._stations[callsign], document, self._uncorrected)
        if present & _DETAILS.keys():
            for document in documents:
                if note := _DETAILS.get(document.type):
                    note(self._stations[document.callsign], document)

    def statements(self) -> list[Statement]:
        """The statements that add them to the tables."""
        made = [
            insert("message_type", sorted(self._total)),
            insert("sum_total", sorted(self._total.items())),
        ]
        for table, sums in (
            ("sum_minute", self._minute),
            ("sum_hour", self._hour),
            ("sum_station_hour", self._station_hour),
            ("sum_station_day", self._station_day),
        ):
            # In key order, which suits B-trees.
            rows = sorted((*key, count) for key, count in sums.items())
            made.append(insert(table, rows))
        heard, details = [], []
        for callsign, station in sorted(self._stations.items()):
            row = station.row(callsign)
            if station.info is _NO_INFO and station.position is _NO_POSITION:
                heard.append(row)
            else:
                details.append((*row, *station.info, *station.position))
        made += insert("station", heard), insert("station details", details)
        return made

    def _add(self, time: int, type_: str, callsign: str, count: int) -> None:
        hour, day = time - time % HOUR, time - time % DAY
        self._total[type_] += count
        self._minute[time - time % MINUTE, type_] += count
        self._hour[hour, type_] += count
        if not callsign or type_ in _OF_NO_STATION:
            return
        self._station_hour[hour, self._hours.name(hour, callsign), type_] += count
        self._station_day[day, self._days.name(day, callsign), type_] += count
        heard = self._stations[callsign]
        heard.messages += count
        heard.first = min(heard.first, time)
        heard.last = max(heard.last, time)


def _note_last(heard: _Heard, document: Document, uncorrected: Container[str]) -> None:
    heard.created = document.time_created
    heard.ip = document.ip or heard.ip
    # The id begins with the station's own time_created; the document's is corrected by the
    # difference between the gateway's clock and the station's time_uploaded. A time clamped into
    # the valid range says nothing.
    if 0 < document.time_created < MAX_TIME:
        sent = document.id[:10]
        if sent.isdecimal():
            offset = int(sent) - document.time_created
            if offset or document.type not in uncorrected:
                heard.clock_offset = offset


def _note_info(heard: _Heard, document: Document) -> None:
    with contextlib.suppress(*_UNREADABLE):
        info = _INFO.decode(document.data)
        texts = map(_text, (info.name, info.location, info.radio, info.antenna))
        heard.info = (document.time_created, *texts)


def _note_position(heard: _Heard, document: Document) -> None:
    with contextlib.suppress(*_UNREADABLE):
        place = _POSITION.decode(document.data)
        heard.position = (
            document.time_created,
            place.latitude,
            place.longitude,
            place.altitude,
        )


#: Types whose data describe the station.
_DETAILS = {"LISTENER_INFO": _note_info, "LISTENER_TELEM": _note_position}


def _text(text: str | None) -> str | None:
    """A station's text as one printable line of bounded length."""
    if text is None:
        return None
    cut = text[:TEXT_LENGTH].strip()
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)


def read_joined(documents: bytes, count: int) -> list[Document] | None:
    """The ``count`` documents in a JSON array, None if any can't be read."""
    try:
        read = _DOCUMENTS.decode(documents)
    except _UNREADABLE:
        return None
    # Pieces that aren't valid JSON alone could be when joined.
    return read if len(read) == count else None


def read_one(document: bytes) -> Document:
    """A document; one that can't be read is UNREADABLE."""
    try:
        return _DOCUMENT.decode(document)
    except _UNREADABLE:
        return Document()

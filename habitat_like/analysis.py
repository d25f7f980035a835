"""Archives for analysts who write Python: documents, flat rows, and pandas.

    from habitat_like import open_archive

    with open_archive("sqlite:/var/lib/habitat/archive.sqlite") as archive:
        for document in archive.query(type="TELEM", since="2h ago"):
            print(document["callsign"], document["data"]["values"])
        flight = archive.to_pandas(payload="HAB-1", since="2026-11-21", until="2026-11-22")

It only reads, and any number of programs may read while gateways write.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from habitat_like import archive as archives
from habitat_like import times
from habitat_like.archive.base import Document, Query
from habitat_like.config.keys import ArchiveConfig
from habitat_like.export import flat
from habitat_like.export.flat import Row
from habitat_like.export.selection import BUILT_IN, Box, Selection, parse_box, selected
from habitat_like.message.message import Listener, check_type_name
from habitat_like.times import MAX_TIME

if TYPE_CHECKING:
    import pandas

#: A point in time: what ``habitat query`` takes (``"2h ago"``, ``"2026-11-21T14:00Z"``, and more),
#: UNIX seconds, or a datetime. Without a time zone it is local time.
Time = str | float | datetime.datetime


class Filters(TypedDict, total=False):
    """Which messages are wanted; all of it may be left out.

    ``type`` and ``callsign`` are names; ``since`` is inclusive, ``until`` exclusive. ``payload``
    is what was observed, ``network`` how it came in, ``box`` is west, south, east and north in
    degrees, as numbers or as text. ``limit`` is the largest number of messages. ``order`` is
    ``"asc"`` (oldest first, the default) or ``"desc"``. ``suspicious`` includes messages whose date
    can't be right. An index finds ``type``, ``callsign`` and times; for ``payload``, ``network``
    and ``box``, everything that the others leave is read.
    """

    type: str | None
    callsign: str | None
    since: Time | None
    until: Time | None
    payload: str | None
    network: str | None
    box: tuple[float, float, float, float] | str | None
    limit: int | None
    order: Literal["asc", "desc"]
    suspicious: bool


class ArchiveReader:
    """An archive to read from; made by ``open_archive``.

    A context manager. For one thread at a time. Reading raises ArchiveError of
    ``habitat_like.archive`` (its subclass ArchiveUnavailable for what may work later), with one
    line that says what to do.
    """

    def __init__(self, archive: archives.Archive) -> None:
        self._archive = archive

    @property
    def name(self) -> str:
        """The archive's address, without secrets."""
        return self._archive.name

    def query(self, **filters: Unpack[Filters]) -> Iterator[Document]:
        """The documents that match, as archived; streamed, so any number needs little memory.

        >>> for document in archive.query(callsign="M0ZDR", since="yesterday", limit=10):
        ...     print(document["time_created"], document["type"])

        See ``Filters`` for the arguments. Raises ValueError for one that can't be right.
        """
        query, selection = _wanted(**filters)
        return selected(self._archive, query, selection)

    def rows(self, **filters: Unpack[Filters]) -> Iterator[Row]:
        """The messages that match as flat rows: one entry for each value that a message has.

        >>> for row in archive.rows(payload="HAB-1", since="1d"):
        ...     print(row["time"], row.get("altitude"), row.get("temperature"))

        The names are those of ``habitat export --flat``; ``time`` and ``time_uploaded`` are UNIX
        seconds. Arguments and errors are as in ``query``.
        """
        return (flat.row(document, BUILT_IN) for document in self.query(**filters))

    def to_pandas(self, **filters: Unpack[Filters]) -> pandas.DataFrame:
        """The same rows as a DataFrame, with times in UTC; all of it is in memory.

        >>> flight = archive.to_pandas(payload="HAB-1", type="TELEM", since="2d")
        >>> flight.set_index("time").altitude.plot()

        Raises ImportError, which says what to install, where there is no pandas. Arguments and
        further errors are as in ``query``.
        """
        try:
            import pandas  # noqa: PLC0415 (an extra, and slow to import)
        except ImportError as error:
            text = f"to_pandas needs pandas ({error}): pip install 'habitat_like[pandas]'"
            raise ImportError(text) from None
        rows = list(self.rows(**filters))
        columns = flat.columns(dict.fromkeys(name for row in rows for name in row))
        table = pandas.DataFrame(rows, columns=columns)
        for name in flat.TIMES:
            found = [flat.moment(cell) for cell in table[name]]
            table[name] = pandas.Series(found, dtype="datetime64[us, UTC]")
        return table

    def close(self) -> None:
        """Release connections and files. The next call opens them again."""
        self._archive.close()

    def __enter__(self) -> ArchiveReader:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def open_archive(
    uri: str, *, password_file: str | None = None, timeout: float = 30.0
) -> ArchiveReader:
    """The archive at ``uri``, to read from.

    >>> with open_archive("couchdb://reader@127.0.0.1:5984/habitat",
    ...                   password_file="/etc/habitat/reader-password") as archive:
    ...     print(next(archive.query(order="desc")))

    ``uri`` and ``password_file`` are as ``archive.uri`` and ``archive.password_file`` in the
    configuration, ``timeout`` is how many seconds to wait for the archive. Raises
    ``habitat_like.config.ConfigError`` for an address that can't be used; whether there is an
    archive shows when it is read.
    """
    config = ArchiveConfig(uri=uri, password_file=password_file, timeout=timeout)
    return ArchiveReader(archives.open_archive(config))


def _wanted(**filters: Unpack[Filters]) -> tuple[Query, Selection]:
    now = time.time()
    since, until = _seconds(filters.get("since"), now), _seconds(filters.get("until"), now)
    since, until = since or 0, MAX_TIME + 1 if until is None else until
    if since > until:
        raise ValueError("since is later than until: nothing can match")
    callsign, kind = filters.get("callsign"), filters.get("type")
    if kind is not None:
        kind = kind.upper()
        check_type_name(kind)
    order = filters.get("order", "asc")
    if order not in ("asc", "desc"):
        raise ValueError(f"order: {order!r} is neither 'asc' nor 'desc'")
    limit = filters.get("limit")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: {limit} is not a number from 1 up")
    query = Query(
        callsign=None if callsign is None else Listener(callsign).callsign,
        type=kind,
        since=since,
        until=until,
        limit=limit,
        order=order,
        suspicious=filters.get("suspicious", False),
    )
    return query, Selection(
        payload=filters.get("payload"),
        network=filters.get("network"),
        box=_box(filters.get("box")),
    )


def _seconds(when: Time | None, now: float) -> int | None:
    if when is None:
        return None
    if isinstance(when, str):
        return times.parse(when, now)
    number = when.timestamp() if isinstance(when, datetime.datetime) else float(when)
    # With a point, or eight digits would be a date.
    return times.parse(f"{max(number, 0):.6f}", now)


def _box(box: tuple[float, float, float, float] | str | None) -> Box | None:
    if box is None:
        return None
    return parse_box(box if isinstance(box, str) else ",".join(map(repr, map(float, box))))

"""How far an export got that was cut short, by a signal, a full disk or a power cut.

Nothing is taken on trust: all of the file is read, and what is not a row of it ends it. That is a
half row, what a power cut leaves (zeros, old blocks), and a row out of order.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

#: A row, or a member of a packed file, with more bytes is not ours.
LONGEST = 64 * 1024 * 1024
_READ = 64 * 1024

#: A document's ``time_created`` (a float, if another program made the document) and ``_id``.
Key = tuple[Any, str]


class Place(msgspec.Struct, frozen=True):
    """Where to go on.

    ``size`` is the number of bytes to keep, ``count`` that of the documents in them, ``last`` the
    time and the id of the last of these.
    """

    size: int = 0
    count: int = 0
    last: Key | None = None


def find_place(file: BinaryIO, *, header: bytes, packed: bool) -> Place:
    """The place behind the last whole row of ``file``, which is read from where it stands.

    ``header`` is the first line of CSV with its line end, empty for NDJSON. ``packed`` is for gzip
    in members, as ``PartFile`` writes it: only whole members count. Any content is borne; memory
    is bounded by the longest row or member. Raises OSError.
    """
    key_of = _csv_key(header) if header else _json_key
    place = Place()
    titled = not header
    last, count = place.last, 0
    for rows, end in _groups(file, quoted=bool(header), packed=packed):
        try:
            for row in rows:
                if not titled:
                    titled = row == header
                    _must(titled)
                    continue
                key = key_of(row)
                _must(last is None or key > last)
                last = key
                count += 1
        except (ValueError, csv.Error):  # msgspec's errors are ValueErrors
            break
        place = Place(end, count, last)
    return place


def _groups(file: BinaryIO, *, quoted: bool, packed: bool) -> Iterator[tuple[list[bytes], int]]:
    """Rows that only count together, and the number of bytes up to their end."""
    if not packed:
        end = 0
        for row in _rows(file, quoted=quoted):
            end += len(row)
            yield [row], end
        return
    for data, end in _members(file):
        rows = list(_rows(io.BytesIO(data), quoted=quoted))
        if sum(map(len, rows)) != len(data):
            return
        yield rows, end


def _rows(file: BinaryIO, *, quoted: bool) -> Iterator[bytes]:
    """The whole rows with their line ends; in ``quoted`` ones a line end can be a value's.

    A quote in a value is doubled (https://www.rfc-editor.org/rfc/rfc4180#section-2), so a row is
    whole when the number of its quotes is even.
    """
    lines: list[bytes] = []
    quotes = size = 0
    while (line := file.readline(LONGEST)).endswith(b"\n") and size < LONGEST:
        lines.append(line)
        size += len(line)
        quotes += line.count(b'"')
        if quoted and quotes % 2:
            continue
        yield b"".join(lines)
        lines.clear()
        quotes = size = 0


def _members(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The content of each whole member of a gzip file, and the number of bytes up to its end."""
    end = 0
    unpack = zlib.decompressobj(wbits=31)
    data = bytearray()
    block = b""
    while block := block or file.read(_READ):
        try:
            data += unpack.decompress(block)
        except zlib.error:
            return
        if len(data) > LONGEST:
            return
        end += len(block) - len(unpack.unused_data)
        block = unpack.unused_data
        if unpack.eof:
            yield bytes(data), end
            unpack = zlib.decompressobj(wbits=31)
            data.clear()


class _Head(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    time_created: int | float


_HEAD = msgspec.json.Decoder(_Head)


def _json_key(row: bytes) -> Key:
    row.decode()
    head = _HEAD.decode(row)
    return head.time_created, head.id


def _csv_key(header: bytes) -> Callable[[bytes], Key]:
    csv.field_size_limit(LONGEST)  # of all readers in the process; the usual limit is 128 KiB
    columns = header.decode().rstrip("\n").split(",")
    time_at, id_at = columns.index("time_created"), columns.index("_id")

    def key(row: bytes) -> Key:
        (cells,) = csv.reader([row.decode()], strict=True)
        _must(len(cells) == len(columns))
        _must("'" not in cells[id_at])  # it may not be the id's own, see csv_form.guard
        return msgspec.json.decode(cells[time_at], type=int | float), cells[id_at]

    return key


def _must(holds: bool) -> None:
    if not holds:
        raise ValueError("not a row of this export")

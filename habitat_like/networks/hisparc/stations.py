"""The station list: the stations, their clusters and their passwords.

A CSV file of lines ``number,cluster,password``, as in the HiSPARC datastore. A password may be in
clear or a hash (see ``passwords``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from habitat_like import passwords

_NUMBER = re.compile(r"[0-9]{1,9}")


class StationListError(ValueError):
    """The station list can't be used; one line: the file, the line, what is wrong."""


class HisparcStation(NamedTuple):
    """One station. ``password`` is as written in the list."""

    number: int
    cluster: str
    password: str

    def __repr__(self) -> str:
        """For logs and tests: without the password."""
        return f"HisparcStation({self.number}, {self.cluster!r})"


def load(path: str) -> dict[int, HisparcStation]:
    """The stations in the file ``path`` by their numbers. Raises StationListError.

    The error names the first broken line; ``examine`` finds all.
    """
    stations, problems = examine(path)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StationListError(f"{path} {problems[0]}{more}")
    return dict(stations)


def examine(path: str) -> tuple[Mapping[int, HisparcStation], list[str]]:
    """The stations in ``path``, and one line for each line that is broken.

    Raises StationListError for a file that can't be read at all.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StationListError(
            f"{path}: {error.strerror}; check networks.hisparc.station_list"
        ) from None
    except UnicodeDecodeError:
        raise StationListError(f"{path}: not UTF-8 text") from None
    stations: dict[int, HisparcStation] = {}
    lines: dict[int, int] = {}
    problems = []
    for line, row in _rows(text):
        try:
            station = _station(row)
            if station.number in lines:
                first = lines[station.number]
                raise ValueError(f"station {station.number} stands in line {first} already")
        except ValueError as error:
            problems.append(f"line {line}: {error}")
        else:
            stations[station.number] = station
            lines[station.number] = line
    return stations, problems


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the number of the line on which each ends."""
    # A line is a record: with multi-line quotes, one forgotten quote would swallow the rest.
    for line, record in enumerate(text.split("\n"), 1):
        if record.strip():
            try:
                yield line, next(csv.reader([record.rstrip("\r")], strict=True))
            except csv.Error:
                yield line, []


def _station(row: list[str]) -> HisparcStation:
    """A station from the cells of a line. Raises ValueError, whose text never has a password."""
    if len(row) != 3:
        raise ValueError("expected number,cluster,password")
    number, cluster, password = row[0].strip(), row[1].strip(), row[2]
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"the number {number[:32]!r} is no integer from 0 to 999999999")
    if not cluster or not cluster.isprintable():
        raise ValueError("the cluster is empty or can't be printed")
    if not password:
        raise ValueError("the password is empty")
    try:
        passwords.check(password)
    except ValueError as error:
        raise ValueError(f"{error}; make it with habitat station hash") from None
    return HisparcStation(int(number), cluster, password)

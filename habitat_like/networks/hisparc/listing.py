"""The station list as ``habitat station`` shows and checks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from habitat_like import passwords
from habitat_like.config.keys import ConfigError
from habitat_like.networks.base import StationList
from habitat_like.networks.hisparc import stations
from habitat_like.networks.hisparc.stations import HisparcStation, StationListError


class Listing(StationList):
    """The CSV file of numbers, clusters and passwords."""

    def show(self, settings: Any, status: dict[str, Any]) -> list[dict[str, Any]]:
        """Each station, and what it did today."""
        known = status.get("stations", {})
        return [
            {
                "number": station.number,
                "cluster": station.cluster,
                "last_upload": None,
                "events_today": 0,
                "suspicious_today": 0,
                "failed_passwords_today": 0,
                **known.get(str(station.number), {}),
            }
            for station in _sorted(settings.station_list)
        ]

    def examine(self, path: str) -> tuple[str, list[str], bool]:
        """The number of stations, the broken lines, and whether passwords are in clear."""
        try:
            found, problems = stations.examine(path)
        except StationListError as error:
            raise ConfigError(str(error)) from None
        clear = sum(not passwords.is_hash(station.password) for station in found.values())
        clusters = len({station.cluster for station in found.values()})
        text = f"{len(found)} stations in {clusters} clusters, {clear} with the password in clear"
        return text, problems, clear > 0

    def hashed(self, path: str) -> Iterator[str]:
        """The list with every password hashed."""
        for station in _sorted(path):
            stored = station.password
            if not passwords.is_hash(stored):
                stored = passwords.make_hash(stored)
            yield f"{station.number},{_quoted(station.cluster)},{stored}"


def _sorted(path: str) -> list[HisparcStation]:
    try:
        return sorted(stations.load(path).values())
    except StationListError as error:
        raise ConfigError(str(error)) from None


def _quoted(cell: str) -> str:
    """A cell of a CSV file."""
    if any(char in cell for char in ',"'):
        return '"' + cell.replace('"', '""') + '"'
    return cell

"""Hisparc: cosmic-ray stations that upload in the HiSPARC protocol; see docs/hisparc.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import msgspec

from habitat_like import passwords
from habitat_like.config.keys import ConfigError, Text
from habitat_like.http.response import TEXT, Response
from habitat_like.networks.base import BULK, CAREFUL, Family, Network, Note, Outcome, Push, Route
from habitat_like.networks.hisparc import listing, stations
from habitat_like.networks.hisparc.events import HISPARC_EVENT
from habitat_like.networks.hisparc.stations import HisparcStation, StationListError
from habitat_like.networks.hisparc.upload import Uploads
from habitat_like.networks.observation import Request


class HisparcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys below ``networks.hisparc``."""

    station_list: Text
    minimum_year: Annotated[int, msgspec.Meta(ge=1980, le=9999)] = 2020


class Hisparc(Network):
    """The network. Its answers are those of its protocol, which doesn't know our identities."""

    name = "hisparc"
    types = (HISPARC_EVENT,)
    family: ClassVar[Family] = CAREFUL
    routes = (Route("POST", "/upload", lane=BULK),)
    Settings = HisparcSettings
    station_list = listing.Listing()

    def __init__(self, settings: HisparcSettings, loaded: Any = None) -> None:
        super().__init__(settings, loaded)
        self.uploads = Uploads(settings.minimum_year, loaded)

    @classmethod
    def load(cls, settings: HisparcSettings) -> dict[int, HisparcStation]:
        """The stations in the list. Raises ConfigError."""
        try:
            return stations.load(settings.station_list)
        except StationListError as error:
            raise ConfigError(str(error), "networks.hisparc.station_list") from None

    def configure(self, settings: HisparcSettings, loaded: dict[int, HisparcStation]) -> None:
        """Put the settings and the listed stations in force."""
        super().configure(settings, loaded)
        self.uploads.configure(settings.minimum_year, loaded)

    def serve(self, request: Request, push: Push, note: Note) -> Response:
        """Take a station's upload; see ``Uploads.take``."""
        return self.uploads.take(request.body, request.ip, request.now, push, note)

    def refused(self, request: Request, status: int, text: str, outcome: Outcome) -> Response:
        """The usual answer: the protocol has codes for an upload's contents, not for its size."""
        return Response(status, f"{text}\n".encode(errors="replace"), TEXT)

    def denied(self, text: str) -> Response:
        """The usual answer."""
        return Response(403, f"{text}\n".encode(errors="replace"), TEXT)

    def status(self, now: float) -> dict[str, Any]:
        """Uploads by code, events, and what each station did."""
        return self.uploads.activity.snapshot(now)

    def metrics(self, status: dict[str, Any]) -> Iterator[Any]:
        """Uploads by code, and events."""
        from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 (slow)

        uploads = CounterMetricFamily(
            "habitat_hisparc_uploads", "Uploads of HiSPARC stations.", labels=["code"]
        )
        for code, count in status["uploads"].items():
            uploads.add_metric([code], count)
        yield uploads
        for key, text in (
            ("events", "Events in the uploads that were stored."),
            ("suspicious", "Those of them whose date can't be right."),
        ):
            yield CounterMetricFamily(f"habitat_hisparc_{key}", text, status[key])

    def check(self) -> Iterator[tuple[str, str, str]]:
        """The station list."""
        key = "networks.hisparc.station_list"
        path = self.settings.station_list
        found = self.load(self.settings)
        yield "ok", key, f"{len(found)} stations in {path}"
        if any(not passwords.is_hash(station.password) for station in found.values()):
            yield "secret", key, path

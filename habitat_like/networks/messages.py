"""Observations become messages: callsign, times, data. No I/O."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from habitat_like.message.message import Listener, Message, to_callsign
from habitat_like.message.types import unset_clock, wrong_date
from habitat_like.networks.observation import Observation
from habitat_like.networks.stations import UNKNOWN, Station, Stations
from habitat_like.times import FUTURE, MAX_TIME, is_set, show_day

#: 2020-01-01: a correct station clock never shows an earlier time.
EARLIEST = 1577836800
#: 2100-01-01: a clock beyond it is not used for correction.
LAST_CLOCK = 4102444800
_END = MAX_TIME + 1

#: Cached, as the same stations send again and again.
_listener = functools.lru_cache(maxsize=16384)(Listener)


class Times(msgspec.Struct, frozen=True, gc=False):
    """A message's times in UNIX seconds; ``doubt`` is why its station's clock can't be right.

    ``replaced``: the station's own time was not used.
    """

    created: int
    sent: int
    doubt: str | None = None
    replaced: bool = False


def times_of(observation: Observation, now: int) -> Times:
    """The times of an observation received at ``now``, by its rule.

    ``corrected``: the station's clock, corrected by how far off it was when it sent; ``trusted``:
    the network's clock, as is; ``station``: the station's clock, if it can be right; ``gateway``:
    ours.
    """
    time = observation.time
    rule = observation.rule
    if not is_set(now):
        return _unset(time, now, rule)
    if time is None or rule == "gateway":
        return Times(now, now)
    if not 0 <= time < _END:  # also catches NaN
        return Times(now, now, "the time is out of range", True)
    created = int(time)
    sent = observation.sent
    if rule == "corrected" and sent is not None and 0 <= sent <= LAST_CLOCK:
        corrected = min(max(created + now - int(sent), 0), MAX_TIME)
        return Times(corrected, created, _ahead(corrected, now))
    doubt = _ahead(created, now) if created > now else None
    if created < EARLIEST:
        doubt = f"dated {show_day(created)}, before 2020"
    if rule == "trusted" or doubt is None:
        return Times(created, created, doubt)
    return Times(now, created, doubt, True)


def _unset(time: float | None, now: int, rule: str) -> Times:
    """The times when our own clock is unusable: the station's, as is."""
    created = now if time is None or not 0 <= time < _END else int(time)
    return Times(created, created, None if rule == "trusted" else unset_clock(now))


def _ahead(created: int, now: int) -> str | None:
    if created > now + FUTURE:
        return wrong_date(created)
    return None


def callsign_of(
    network: str, observation: Observation, station: Station | None, stations: Stations
) -> str:
    """The callsign of an observation's station; "" if nothing identifies it."""
    if station is not None:
        return station.callsign
    if observation.secret and observation.uploader.strip():
        return stations.stand_in(network, observation.uploader)
    return to_callsign(observation.uploader)


def to_message(
    network: str,
    observation: Observation,
    callsign: str,
    station: Station | None,
    ip: str | None,
    now: int,
    doubt: str | None = None,
) -> Message:
    """The message of an observation by the station ``callsign``, received at ``now``.

    ``station`` is its entry in the ``stations`` file. ``doubt`` is a reason to mark it suspicious,
    besides its own. Raises ValueError, TypeError and OverflowError for data that JSON can't hold.
    """
    times = times_of(observation, now)
    data = observation.data
    if data is None:
        data = _shape(network, observation, callsign, station)
    elif isinstance(data, dict):
        data = {**data, **observation.extra}
        if not observation.secret and observation.uploader not in (callsign, ""):
            data.setdefault("uploader", observation.uploader)
    if times.replaced and observation.time is not None and isinstance(data, dict):
        data["time_sent"] = times.sent if times.sent != now else None
    marks = observation.marks
    if times.doubt is not None or doubt is not None:
        marks = [*marks, *(mark for mark in (times.doubt, doubt) if mark)]
    return Message(
        _listener(callsign or UNKNOWN, ip),
        observation.type,
        times.created,
        now if now >= times.created or is_set(now) else times.created,
        data,
        times.sent,
        suspicious="; ".join(marks) if marks else None,
        identity=observation.unique,
    )


def _shape(
    network: str, observation: Observation, callsign: str, station: Station | None
) -> dict[str, Any]:
    """An observation as archived; absent parts are left out."""
    values = observation.values if observation.columns is None else observation.columns
    data: dict[str, Any] = {"network": network, "values": values}
    if observation.payload is not None:
        data["payload"] = observation.payload
    if observation.sensor is not None:
        data["sensor"] = observation.sensor
    if observation.uploader != callsign and observation.uploader and not observation.secret:
        data["uploader"] = observation.uploader
    if observation.position is not None:
        data["position"] = observation.position
    elif station is not None and station.latitude is not None and station.longitude is not None:
        place = {"latitude": station.latitude, "longitude": station.longitude}
        data["position"] = place
        if station.altitude is not None:
            place["altitude"] = station.altitude
    if observation.missing:
        data["missing"] = observation.missing
    if observation.raw is not None:
        data["raw"] = observation.raw_text
    if observation.extra:
        data.update(observation.extra)
    return data

"""What is around a balloon club: a weather station, sensors, a car, and what goes wrong. No I/O."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from tools.demo.device import Device, Upload, as_json
from tools.demo.flight import Fleet, Place

#: Seconds that the car takes for the way back from a landing.
WAY_BACK = 3600.0


def celsius(moment: float) -> float:
    """The temperature of the air on a day like all others: coldest at 3, warmest at 15 UTC."""
    return 9.0 - 5.0 * math.cos((moment / 3600 - 3) / 24 * 2 * math.pi)


class WeatherStation(Device):
    """A weather console or program that uploads as to Weather Underground."""

    every = 30.0

    def __init__(self, station: str, password: str, begin: float, seed: int) -> None:
        super().__init__(begin, seed)
        self.station = station
        self.password = password

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """One request for each reading."""
        for moment in self.moments(self.every, since, until):
            yield reading(self.station, self.password, moment, self.values(moment))

    def values(self, moment: float) -> dict[str, str]:
        """A reading, in the units of the protocol."""
        chance = self.chance(self.station, moment)
        warmth = celsius(moment) + chance.gauss(0, 0.1)
        wind = 7 + 3 * math.sin(moment / 900) + chance.uniform(-1, 1)
        return {
            "tempf": f"{warmth * 1.8 + 32:.1f}",
            "humidity": f"{min(95 - 3 * (warmth - 4), 100):.0f}",
            "baromin": f"{29.92 + 0.1 * math.sin(moment / 40_000):.3f}",
            "winddir": f"{(260 + 20 * math.sin(moment / 1500)) % 360:.0f}",
            "windspeedmph": f"{wind:.1f}",
            "windgustmph": f"{wind * 1.5:.1f}",
            "dailyrainin": "0.04",
        }


def reading(station: str, password: str, moment: float, values: dict[str, str]) -> Upload:
    """A GET of Weather Underground's protocol."""
    fields = {
        "action": "updateraw",
        "ID": station,
        "PASSWORD": password,
        "softwaretype": "weewx-5.3.1",
        "dateutc": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)),
        **values,
    }
    return Upload("GET", f"/weatherstation/updateweatherstation.php?{urlencode(fields)}")


class AirSensor(Device):
    """An airRohr fine dust sensor. It keeps nothing: only the newest reading is sent."""

    every = 20.0

    def __init__(self, chip: str, begin: float, seed: int) -> None:
        super().__init__(begin, seed)
        self.chip = chip

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """The newest reading, if there is one."""
        for moment in list(self.moments(self.every, since, until))[-1:]:
            chance = self.chance(self.chip, moment)
            dust = 9 + 4 * math.sin(moment / 1200) + chance.uniform(0, 2)
            values = {
                "SDS_P1": f"{dust:.2f}",
                "SDS_P2": f"{dust * 0.45:.2f}",
                "BME280_temperature": f"{celsius(moment):.2f}",
                "BME280_pressure": f"{101_300 + 300 * math.sin(moment / 40_000):.2f}",
                "BME280_humidity": f"{80 + chance.gauss(0, 1):.2f}",
                "signal": str(chance.randint(-72, -60)),
            }
            tree = {
                "esp8266id": self.chip,
                "software_version": "NRZ-2024-135",
                "sensordatavalues": [
                    {"value_type": name, "value": text} for name, text in values.items()
                ],
            }
            headers = {"Content-Type": "application/json", "X-Sensor": f"esp8266-{self.chip}"}
            yield Upload("POST", "/airrohr", as_json(tree), headers)


class LoraDevice(Device):
    """A sensor in a meadow whose packets come by the webhook of The Things Network."""

    every = 60.0

    def __init__(self, name: str, place: Place, begin: float, seed: int) -> None:
        super().__init__(begin, seed)
        self.name = name
        self.place = place

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """One webhook for each packet."""
        for moment in self.moments(self.every, since, until):
            chance = self.chance(self.name, moment)
            where = dict(zip(("latitude", "longitude", "altitude"), self.place, strict=True))
            received = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + ".096176654Z"
            moisture = round(34 + 2 * math.sin(moment / 20_000) + chance.gauss(0, 0.1), 1)
            message = {
                "f_port": 2,
                "f_cnt": round((moment - self.begin) / self.every) + 4000,
                "decoded_payload": {
                    "soil_moisture": moisture,
                    "soil_temperature": round(celsius(moment) * 0.4 + 5, 1),
                    "battery": 3.61,
                },
                "rx_metadata": [
                    {
                        "gateway_ids": {"gateway_id": gateway},
                        "rssi": round(chance.gauss(rssi, 3)),
                        "snr": round(chance.gauss(snr, 1), 1),
                    }
                    for gateway, rssi, snr in (("village-hall", -97, 7), ("water-tower", -114, -4))
                ],
                "settings": {
                    "data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 9}},
                    "frequency": "868300000",
                },
                "consumed_airtime": "0.185344s",
                "locations": {"user": where},
            }
            tree = {
                "end_device_ids": {
                    "device_id": self.name,
                    "application_ids": {"application_id": "club"},
                    "dev_eui": "70B3D57ED0000001",
                },
                "received_at": received,
                "uplink_message": message,
            }
            yield Upload("POST", "/ttn/up", as_json(tree), {"Content-Type": "application/json"})


class Car(Device):
    """The car that chases the flights of a fleet: from the launch to the landing, and back.

    A telephone in it uploads with OsmAnd's protocol.
    """

    every = 10.0

    def __init__(self, name: str, fleet: Fleet, begin: float, seed: int) -> None:
        super().__init__(begin, seed)
        self.name = name
        self.fleet = fleet

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """One request for each position."""
        for moment in self.moments(self.every, since, until):
            place, before = self.at(moment), self.at(moment - self.every)
            knots = place.metres_to(before) / self.every * 3600 / 1852
            fields = {
                "id": self.name,
                "lat": f"{place.latitude:.5f}",
                "lon": f"{place.longitude:.5f}",
                "timestamp": f"{moment:.0f}",
                "altitude": f"{place.altitude:.0f}",
                "speed": f"{knots:.1f}",
                "hdop": "1.1",
            }
            yield Upload("GET", f"/osmand?{urlencode(fields)}")

    def at(self, moment: float) -> Place:
        """Where it is at a UNIX time. It is there shortly before the payload lands."""
        launched = [one for one in self.fleet.flights(self.begin, moment) if one.launch <= moment]
        if not launched:
            return self.fleet.site
        flight = launched[-1]
        out = (moment - flight.launch) / (flight.landing - flight.launch - 300)
        back = (moment - flight.landing - 600) / WAY_BACK
        share = min(out, 1.0) - min(max(back, 0.0), 1.0)
        here, there = self.fleet.site, flight.end
        bend = 0.02 * math.sin(math.pi * share) * math.sin(7 * share)
        return Place(
            here.latitude + share * (there.latitude - here.latitude) + bend,
            here.longitude + share * (there.longitude - here.longitude),
            here.altitude,
        )


class Trouble(Device):
    """What goes wrong at any gateway: a wrong key, a clock that is not set, what is no upload."""

    every = 120.0

    def __init__(
        self, station: str, where: Callable[[float], Place], begin: float, seed: int
    ) -> None:
        super().__init__(begin, seed)
        self.station = station
        self.where = where

    def uploads(self, since: float, until: float) -> Iterator[Upload]:
        """The same again and again; of what was missed, it is sent once."""
        for moment in list(self.moments(self.every, since, until))[-1:]:
            warmth = {"tempf": f"{celsius(moment) * 1.8 + 32:.1f}", "humidity": "71"}
            yield reading(self.station, "guessed", moment, warmth)
            # A console without a battery for its clock.
            yield reading("ATTIC", "any", moment % 86400 + 946_684_800, warmth)
            # A bench test with the position of its maker's garden.
            place = self.where(moment)
            test = {
                "software_name": "tracker-test",
                "uploader_callsign": "M0ZDR",
                "payload_callsign": "BENCH",
                "datetime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
                "lat": place.latitude,
                "lon": place.longitude,
                "alt": place.altitude,
                "dev": True,
            }
            yield Upload("PUT", "/amateur/telemetry", as_json([test]), _JSON)
            message = {
                "callsign": "M0ZDR",
                "type": "RECEIVED_TELEM",
                "time_created": int(moment),
                "time_uploaded": int(moment),
                "data": {"string": "JCQ=", "frequency": -5},
            }
            yield Upload("POST", "/message", as_json(message), _JSON)
            yield Upload("POST", "/airrohr", b"{", _JSON)


_JSON = {"Content-Type": "application/json"}

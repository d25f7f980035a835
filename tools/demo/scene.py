"""The scene: who flies, who hears it, and who else is there. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from tools.demo.device import Device
from tools.demo.flight import BEFORE, Fleet, Flight, Place, Radio
from tools.demo.neighbours import AirSensor, Car, LoraDevice, Trouble, WeatherStation
from tools.demo.receivers import Antenna, Receiver, SondeHubReceiver

#: Seconds before the start at which the first payload of each fleet was launched: one is about to
#: burst, the other one climbs.
FIRST, SECOND = 95 * 60, 25 * 60
#: Seconds from one launch of a fleet to the next.
PERIOD, PERIOD_OF_SECOND = 4 * 3600, 2 * 3600
#: Seconds before the start of a flight that landed yesterday.
YESTERDAY = 27 * 3600

#: In given/payloads.yml, and by number in given/payload_ids.txt.
BIRDS = ("KESTREL", "OSPREY", "MERLIN", "HOBBY", "HARRIER")
WADERS = {"HERON": 1201, "EGRET": 1202, "BITTERN": 1203, "CURLEW": 1204, "AVOCET": 1205}
RTTY, HORUS = Radio(434_075_000.0, 5), Radio(437_600_000.0, 5)
#: The flight of yesterday sent less often.
SLOW = Radio(434_075_000.0, 20)

LAUNCH_SITE, SECOND_SITE = Place(52.2511, -0.0927, 40), Place(51.9702, -0.3815, 60)
MEADOW = Place(52.4391, 0.2563, 4)
CAR = "M0CAR"

#: Callsign, place, what it tells of itself (name, location, radio, antenna), antenna.
RECEIVERS = (
    ("M0ZDR", Place(52.2053, 0.1218, 15), "Adam", "Cambridge", "FT-817", "collinear", (9, 4)),
    ("2E0ABC", Place(52.6309, 1.2974, 28), "Beth", "Norwich", "RTL-SDR", "1/4 wave", (6, 1)),
    ("G8DEM", Place(52.0567, 1.1482, 30), "Chris", "Ipswich", "IC-7300", "turnstile", (8, 2)),
    ("M6NTH", Place(52.5695, -0.2405, 20), "Dana", "Peterborough", "Airspy Mini", "dipole", (5, 1)),
    ("ON4XYZ", Place(51.2287, 2.9271, 4), "Eva", "Ostend", "RTL-SDR", "Yagi, 7 elements", (25, 9)),
)
SONDEHUB_RECEIVERS = (
    ("M7HTC", Place(51.9489, -0.2785, 70), Antenna(7, 3)),
    ("G0THF", Place(52.4145, 0.7474, 25), Antenna(10, 4)),
)
#: Its clock is ahead, by so many seconds.
FAST, AHEAD = "G8DEM", 47
#: Its owner gave the frequency in MHz, until so many seconds after yesterday's launch.
IN_MHZ, UNTIL_MENDED = "M6NTH", 120


class Scene:
    """All that is there, for a demonstration that starts at a UNIX time; ``seed`` decides chance.

    ``devices`` are all that upload. Not thread-safe.
    """

    def __init__(self, start: int, seed: int) -> None:
        self.start = start
        self.yesterday = Flight(BIRDS[0], start - YESTERDAY, LAUNCH_SITE, SLOW, f"{seed} yesterday")
        self.birds = Fleet(BIRDS, start - FIRST, PERIOD, LAUNCH_SITE, RTTY, seed)
        self.waders = Fleet(
            tuple(WADERS), start - SECOND, PERIOD_OF_SECOND, SECOND_SITE, HORUS, seed
        )
        begin = start - FIRST - BEFORE
        car = Car(CAR, self.birds, begin, seed)
        self.devices: list[Device] = [
            *self._receivers(seed, car),
            *self._sondehub_receivers(begin, seed),
            car,
            WeatherStation("HILLTOP", "demo-key", begin, seed),
            AirSensor("1234567", start, seed),
            LoraDevice("meadow-1", MEADOW, begin, seed),
            Trouble("HILLTOP", lambda _: MEADOW, start, seed),
        ]

    def sentences(self, since: float, until: float) -> list[Flight]:
        """The flights that send sentences at some time between these UNIX times."""
        yesterday = [self.yesterday] if since <= self.yesterday.landing + 600 else []
        return [*yesterday, *self.birds.flights(since, until)]

    def _receivers(self, seed: int, car: Car) -> list[Device]:
        begin = self.yesterday.launch - BEFORE
        found: list[Device] = []
        for callsign, place, name, location, radio, antenna, (height, gain) in RECEIVERS:
            about = {"name": name, "location": location, "radio": radio, "antenna": antenna}
            found.append(
                Receiver(
                    callsign,
                    _at(place),
                    about,
                    Antenna(height, gain),
                    self.sentences,
                    begin,
                    seed,
                    ahead=AHEAD if callsign == FAST else 0,
                    mends=self.yesterday.launch + UNTIL_MENDED if callsign == IN_MHZ else 0.0,
                )
            )
        about = {"name": "Finn", "location": "in the car", "radio": "RTL-SDR", "antenna": "whip"}
        antenna_of_car = Antenna(2, 0)
        found.append(
            Receiver(
                CAR, car.at, about, antenna_of_car, self.sentences, car.begin, seed, position=60
            )
        )
        return found

    def _sondehub_receivers(self, begin: float, seed: int) -> list[Device]:
        return [
            SondeHubReceiver(
                callsign, place, antenna, self.waders.flights, begin, seed, identifiers=WADERS
            )
            for callsign, place, antenna in SONDEHUB_RECEIVERS
        ]


def _at(place: Place) -> Callable[[float], Place]:
    return lambda _: place

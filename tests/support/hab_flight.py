"""A whole flight as an archive has it: what receivers heard, and what the packets say.

Always the same, so that docs/analysis.md can show what comes out. It is made up.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

#: 2026-10-17 09:30:00 UTC.
LAUNCH = 1_792_229_400
PAYLOAD = "CAMBRIDGE-7"
#: Metres at which it bursts, and seconds between two packets.
BURST = 30_400
STEP = 30
#: Where receivers are: degrees, degrees, metres.
RECEIVERS = {
    "2E0UPU": (52.63, 1.30, 25),
    "M0ZDR": (52.19, 0.15, 20),
    "PA3ABC": (52.16, 4.49, 5),
}


def fixes() -> list[tuple[int, int, float, float, int, float]]:
    """Number, time, latitude, longitude, metres and degrees Celsius of each packet."""
    made = []
    height, latitude, longitude = 20.0, 52.21, 0.09
    rising, number = True, 0
    while rising or height > 150:
        time = LAUNCH + number * STEP
        warmth = 12.5 - 6.5 * height / 1000 if height < 11_000 else -59 + (height - 11_000) / 1500
        made.append(
            (number, time, round(latitude, 5), round(longitude, 5), round(height), round(warmth, 1))
        )
        if rising:
            speed = 5.2 + 0.5 * math.sin(number / 17) - (0.9 if 10_500 < height < 12_500 else 0)
        else:
            speed = -5.4 * math.exp(height / 14_500)
        wind = 8 + 22 * math.exp(-(((height - 11_000) / 4000) ** 2))
        latitude += wind * STEP * math.sin(0.35) / 111_200
        longitude += wind * STEP * math.cos(0.35) / 68_000
        height += speed * STEP
        if height >= BURST:
            rising, height = False, BURST - 40.0
        number += 1
    return made


def documents() -> list[dict[str, Any]]:
    """The flight's documents, in order."""
    made = []
    for callsign, (latitude, longitude, altitude) in RECEIVERS.items():
        where = {"latitude": latitude, "longitude": longitude, "altitude": altitude}
        clock = {"hour": 9, "minute": 0, "second": 0}
        made.append(_document("LISTENER_TELEM", callsign, LAUNCH - 1800, {**where, "time": clock}))
        info = {"name": callsign.title(), "radio": "RTL-SDR", "antenna": "turnstile"}
        made.append(_document("LISTENER_INFO", callsign, LAUNCH - 1799, info))
    for number, time, latitude, longitude, altitude, warmth in fixes():
        hour = f"{(time // 3600) % 24:02}:{(time // 60) % 60:02}:{time % 60:02}"
        text = f"{PAYLOAD},{number},{hour},{latitude:.5f},{longitude:.5f},{altitude},{warmth}"
        sentence = f"$${text}*{binascii.crc_hqx(text.encode(), 0xFFFF):04X}\n".encode()
        for at, (callsign, place) in enumerate(RECEIVERS.items()):
            away = math.hypot((place[0] - latitude) * 111.2, (place[1] - longitude) * 68)
            if away > 3.57 * (math.sqrt(altitude) + 6):
                continue  # below the horizon
            packet = {
                "string": base64.b64encode(sentence).decode(),
                "frequency": 434_075_000 + 10 * at,
                "snr": round(26 - 7 * math.log10(1 + away) + (number * 7 % 5) / 4, 1),
            }
            made.append(_document("RECEIVED_TELEM", callsign, time + 2, packet))
        data: dict[str, Any] = {
            "protocol": "ukhas",
            "payload": PAYLOAD,
            "sequence": number,
            "time": hour,
            "position": {"latitude": latitude, "longitude": longitude, "altitude": altitude},
            "values": {"temperature": warmth},
        }
        made.append(_document("TELEM", PAYLOAD, time, data))
    return sorted(made, key=lambda one: (one["time_created"], str(one["_id"])))


def _document(type: str, callsign: str, time: int, data: dict[str, Any]) -> dict[str, Any]:
    number = binascii.crc32(f"{type} {callsign}".encode())
    return {
        "_id": f"{time:010d}-{number:024x}",
        "type": type,
        "callsign": callsign,
        "ip": None if type == "TELEM" else "203.0.113.7",
        "time_created": time,
        "time_uploaded": time + 1,
        "data": data,
        "gateway": "a1",
    }

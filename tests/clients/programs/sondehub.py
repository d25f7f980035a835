"""pysondehub uploads two packets and the station's position."""

from __future__ import annotations

import sys
import time

from sondehub.amateur import Uploader

url = sys.argv[1]
Uploader.SONDEHUB_AMATEUR_URL = f"{url}/amateur/telemetry"
Uploader.SONDEHUB_AMATEUR_STATION_POSITION_URL = f"{url}/amateur/listeners"

uploader = Uploader(
    "M0ZDR", uploader_position=[51.98, 5.11, 12.0], uploader_radio="RTL-SDR", upload_rate=1
)
uploader.upload_station_position("M0ZDR", [51.98, 5.11, 12.0], uploader_antenna="1/4 wave")
for number in (1, 2):
    uploader.add_telemetry(
        "BALLOON-1",
        sys.argv[2],
        52.1,
        4.9 + number / 100,
        12000 + number,
        frame=number,
        sats=7,
        temp=-54.5,
        humidity=3.1,
        snr=12.5,
        frequency=434.2,
        extra_fields={"ascent": 5.5},
    )
while not uploader.input_queue.empty():
    time.sleep(0.1)
uploader.close()

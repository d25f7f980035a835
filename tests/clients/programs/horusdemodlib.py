"""horusdemodlib decodes a sentence and uploads it, and the station's position."""

from __future__ import annotations

import sys
import time

from horusdemodlib.decoder import parse_ukhas_string
from horusdemodlib.sondehubamateur import SondehubAmateurUploader

url = sys.argv[1]
SondehubAmateurUploader.SONDEHUB_AMATEUR_URL = f"{url}/amateur/telemetry"
SondehubAmateurUploader.SONDEHUB_AMATEUR_STATION_POSITION_URL = f"{url}/amateur/listeners"

uploader = SondehubAmateurUploader(
    upload_rate=1, user_callsign="M0ZDR", user_position=[51.98, 5.11, 12.0], user_antenna="Yagi"
)
uploader.add(parse_ukhas_string(sys.argv[2]))
while not uploader.input_queue.empty():
    time.sleep(0.1)
uploader.close()

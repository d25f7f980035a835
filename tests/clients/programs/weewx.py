"""weewx's threads for Weather Underground and WOW upload two records each."""

from __future__ import annotations

import queue
import sys

import weewx.restx

url, time = sys.argv[1], int(sys.argv[2])
for thread, path in (
    (weewx.restx.AmbientThread, "/weatherstation/updateweatherstation.php"),
    (weewx.restx.WOWThread, "/automaticreading"),
):
    records: queue.Queue[object] = queue.Queue()
    uploader = thread(
        records, None, station="KTEST1", password="SECRET9", server_url=url + path, max_tries=1
    )
    for step in (0, 300):
        records.put(
            {
                "dateTime": time + step,
                "usUnits": weewx.US,
                "outTemp": 41.5,
                "outHumidity": 88.0,
                "barometer": 29.912,
                "windSpeed": 12.1,
                "windDir": 230.0,
                "pm2_5": 7.4,
                "hourRain": None,
            }
        )
    records.put(None)
    uploader.run()

"""SafecastPy adds a measurement, twice."""

from __future__ import annotations

import sys

import SafecastPy

safecast = SafecastPy.SafecastPy(api_key="SECRET9", api_url=sys.argv[1])
for _ in range(2):
    added = safecast.add_measurement(
        json={
            "latitude": 51.98,
            "longitude": 5.11,
            "value": 38,
            "unit": SafecastPy.UNIT_CPM,
            "captured_at": sys.argv[2],
            "device_id": 90,
        }
    )
    assert added["id"] > 0

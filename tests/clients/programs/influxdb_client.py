"""The client of InfluxDB 2 asks whether somebody is there, and writes points in a batch."""

from __future__ import annotations

import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

url, time = sys.argv[1], int(sys.argv[2])
with InfluxDBClient(url=url, token="SECRET9", org="field", enable_gzip=True) as client:
    assert client.ping()
    points = [
        Point("air")
        .tag("host", "hut 7")
        .field("temperature", 4.8 + step)
        .field("count", step)
        .field("note", 'snow, "wet"')
        .field("ok", True)
        .time(time * 1_000_000_000 + step, WritePrecision.NS)
        for step in range(3)
    ]
    with client.write_api(write_options=SYNCHRONOUS) as writer:
        writer.write(bucket="stations", record=points)

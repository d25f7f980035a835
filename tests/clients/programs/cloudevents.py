"""The SDK of CloudEvents makes an event in binary and in structured mode; each is sent twice."""

from __future__ import annotations

import datetime
import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

url, time = sys.argv[1], int(sys.argv[2])
for identity, encode in (("A1", to_binary_event), ("A2", to_structured_event)):
    attributes = {
        "id": identity,
        "type": "org.example.reading",
        "source": "/stations/field07",
        "specversion": "1.0",
        "time": datetime.datetime.fromtimestamp(time, datetime.UTC),
        "datacontenttype": "application/json",
        "subject": "air",
    }
    message = encode(CloudEvent(attributes, {"celsius": 4.8}))
    for _ in range(2):
        reply = requests.post(
            f"{url}/events", data=message.body, headers=message.headers, timeout=60
        )
        assert reply.status_code == 204, reply.text

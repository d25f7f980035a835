"""A message of each type as a station sends it."""

from __future__ import annotations

import json
from typing import Any

CREATED = 1295103598
TELEM: dict[str, Any] = {
    "callsign": "M0ZDR",
    "type": "RECEIVED_TELEM",
    "time_created": CREATED,
    "time_uploaded": CREATED + 109,
    "data": {"string": "JCRoYWJpdGF0LDEyMyw=", "frequency": 434075199.23},
}
INFO: dict[str, Any] = {
    **TELEM,
    "type": "LISTENER_INFO",
    "data": {"name": "Daniel", "location": "Cambridge", "radio": "FT-817", "antenna": "Yagi"},
}
WHERE: dict[str, Any] = {
    **TELEM,
    "type": "LISTENER_TELEM",
    "data": {
        "latitude": 52.1,
        "longitude": -0.1,
        "altitude": 120,
        "time": {"hour": 12, "minute": 4, "second": 30},
    },
}
#: The JSON of TELEM.
GOOD = json.dumps(TELEM).encode()

"""What the tests of the protocol share: a station list, uploads, events."""

from __future__ import annotations

import datetime
import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.reply import Reply
from tests.support.wait import PATIENCE, eventually

SCRIPT = Path(__file__).parent / "station.py2"
LIST = "501,amsterdam,secret\n502,leiden,geheim\n"
#: A year that stays before today and after ``networks.hisparc.minimum_year``.
MOMENT = datetime.datetime(2026, 3, 4, 5, 6, 7)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def event(number: int = 0, moment: datetime.datetime = MOMENT, **values: Any) -> dict[str, Any]:
    """An event unlike that of any other number."""
    given = values or {"PH1": number}
    return {
        "header": {
            "eventtype_uploadcode": "CIC",
            "datetime": moment,
            "nanoseconds": number,
        },
        "datalist": [{"data_uploadcode": code, "data": value} for code, value in given.items()],
    }


def fields(
    events: Any, station: object = 501, password: str = "secret", protocol: int = 2
) -> dict[str, str]:
    """The form of an upload; ``events`` are pickled, unless they are bytes already."""
    data = events if isinstance(events, bytes) else pickle.dumps(events, protocol)
    return {
        "station_id": str(station),
        "password": password,
        "checksum": hashlib.md5(data).hexdigest(),
        "data": data.decode("latin-1"),
    }


def as_utf8(form: Mapping[str, str]) -> bytes:
    """The form as most clients send it: the latin-1 text in UTF-8."""
    return urlencode(form).encode()


def as_bytes(form: Mapping[str, str]) -> bytes:
    """The form with each byte of the pickle encoded as it is."""
    return "&".join(
        f"{name}={quote_from_bytes(value.encode('latin-1'))}" for name, value in form.items()
    ).encode()


class Network:
    """A gateway with a station list, and stations that upload to it, through nginx if there is."""

    def __init__(self, gateway: Habitat, stations: str = LIST) -> None:
        self.gateway = gateway
        self.front: Nginx | None = None
        self.list = gateway.directory / "stations.csv"
        self.list.write_text(stations)
        gateway.config["networks"] = {"hisparc": {"station_list": str(self.list)}}

    def post(self, form: bytes | Mapping[str, str], ip: str = "127.0.0.1") -> Reply:
        body = form if isinstance(form, bytes) else as_utf8(form)
        if self.front is not None:
            return self.front.request("POST", "/upload", body, FORM)
        return self.gateway.scgi("POST", "/upload", body, FORM, params={"REMOTE_ADDR": ip})

    def code(self, form: bytes | Mapping[str, str], ip: str = "127.0.0.1") -> str:
        """The code that an upload is answered with; it must come as the protocol has it."""
        reply = self.post(form, ip)
        assert reply.status == 200, reply
        assert reply.headers["content-type"].partition(";")[0] == "text/plain", reply
        assert len(reply.body) == 3, reply
        return reply.text

    def written(self) -> int:
        number: int = self.gateway.status()["journal"]["last_seq"]
        return number

    def archived(self, *options: str) -> list[dict[str, Any]]:
        """What ``habitat query`` prints, once the journal is empty."""
        eventually(lambda: self.gateway.status()["backlog"] == 0, "all is archived")
        done = self.gateway.cli("query", "--format", "ndjson", "--order", "asc", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def run_station(*arguments: object, python: str = sys.executable) -> str:
    """Run the stations' script; what it prints.

    Without installed packages: a server in JavaScript rounds numpy's largest numbers. What numpy
    makes of them is among the recorded pickles.
    """
    done = subprocess.run(
        [python, "-S", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

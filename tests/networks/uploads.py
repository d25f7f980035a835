"""Uploads of every network by number: its samples, each with a mark that makes it a request apart.

The mark is in what tells stations or messages apart, and can be found in the documents again.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from tests.networks.decode import SAMPLES, Raw, read
from tests.networks.hisparc.support import FORM, as_utf8, event, fields
from tests.support.reply import Reply

ANSWERS: dict[str, dict[str, Any]] = yaml.safe_load((SAMPLES / "answers.yml").read_text())
#: What a mark looks like: hexadecimal, so that it can be in every id, and of no letters' case.
MARK = "fee{:06d}eef"
_MARK = re.compile(r"fee(\d{6})eef", re.IGNORECASE)

#: For each network: texts of its samples, and what is in their place; ``@`` is the mark, ``#`` the
#: bare number, where only digits can be.
PLACES: dict[str, dict[str, str]] = {
    "sondehub": {
        "TESTBALLOON": "@",
        "HORUS-V2": "@",
        "X1234567": "@",
        "N0CALL-9": "@",
        r"Zo\u00eb's station": "@'s station",
    },
    "habitat": {
        "N0CALL": "@",
        "Testville School (3b)": "@ (3b)",
        "from=ROCKBLOCK": "from=@",
        "momsn=376": "momsn=#",
    },
    "weather": {
        "ITESTV1": "@",
        "mt=5N1x38": "mt=@",
        "FC:F5:C4:00:00:60": "@",
        "AMBWeatherPro": "@",
        "0123456789ABCDEF0123456789ABCDEF": "@",
        "345544D8000000000000000000000000": "@",
        "model=GW2000A": "model=@",
    },
    "airrohr": {"esp8266-1234567": "esp8266-@", '"1234567"': '"@"'},
    "opensensemap": {"41001927a265": "@", "ee77ac0e5dc0": "@"},
    "safecast": {"65001": "#", "cpm": "@"},
    "ttn": {"7ED0000001": "@"},
    "chirpstack": {"010101010101": "@", "a5c902f9202d": "@"},
    "helium": {"F90000000002": "@"},
    "owntracks": {"van7": "@"},
    "osmand": {"hiker7": "@", "481516": "@"},
    "rockblock": {"300234010000000": "@", "momsn=376": "momsn=#", '"momsn":932': '"momsn":#'},
    "influx": {"field07": "@", "tasmota_0A1B2C": "@"},
    "cloudevents": {"000123": "@"},
}


class Sample(NamedTuple):
    """A sample that is taken, its answer, and how many documents become of it.

    ``body`` is a regular expression for all of the answer's. ``retried``: it has a clock of its
    own, so that the same again is the same message.
    """

    name: str
    network: str
    request: Raw
    status: int
    body: str
    messages: int
    retried: bool

    def is_success(self, reply: Reply) -> bool:
        """Whether the answer says that it was taken."""
        return reply.status == self.status and bool(
            re.fullmatch(self.body, reply.body.decode(), re.DOTALL)
        )


class Upload(NamedTuple):
    """One request, as a client sends it. ``number`` is in every document that becomes of it."""

    sample: Sample
    number: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


#: HiSPARC's uploads hold pickles; the mark is in the list of stations.
HISPARC = Sample("hisparc", "hisparc", Raw("POST", "/upload", FORM, b""), 200, "100", 1, True)


def station_list(count: int) -> str:
    """A list of HiSPARC's stations, one for each number."""
    return "".join(f"{number},{MARK.format(number)},secret\n" for number in range(count))


def samples() -> list[Sample]:
    """All samples of which something is archived, and one of HiSPARC."""
    found = [HISPARC]
    for name, answer in ANSWERS.items():
        if answer["messages"]:
            request = read((SAMPLES / f"{name}.http").read_bytes())
            messages = sum(answer["messages"].values())
            retried = answer.get("clock") != "gateway"
            status, body = answer["status"], answer["body"]
            found.append(Sample(name, _network(name), request, status, body, messages, retried))
    return found


def upload(sample: Sample, number: int) -> Upload:
    """The upload with this number. Fails the test if there is no place for it in the sample."""
    request = sample.request
    if sample is HISPARC:
        body = as_utf8(fields([event(number)], number))
        return Upload(sample, number, request.method, request.target, request.headers, body)
    places = {old.encode(): new for old, new in PLACES[sample.network].items()}
    pieces = [request.target.encode("latin-1"), request.body]
    pieces += [value.encode("latin-1") for value in request.headers.values()]
    assert any(old in piece for old in places for piece in pieces), sample.name
    for old, new in places.items():
        text = new.replace("@", MARK.format(number)).replace("#", str(number)).encode()
        pieces = [piece.replace(old, text) for piece in pieces]
    target, body, *values = pieces
    headers = {
        name: value.decode("latin-1") for name, value in zip(request.headers, values, strict=True)
    }
    if headers.get("content-encoding") == "gzip":
        body = gzip.compress(body, 1)
    return Upload(sample, number, request.method, target.decode("latin-1"), headers, body)


def numbers_in(documents: Iterable[dict[str, Any]]) -> Counter[int]:
    """How many documents there are of each number; each has exactly one.

    What a parser made of them counts with the packet that it was made of.
    """
    found: Counter[int] = Counter()
    for document in documents:
        if document["type"] == "TELEM":
            continue
        (number,) = {int(one) for one in _MARK.findall(json.dumps(document))}
        found[number] += 1
    return found


def _network(name: str) -> str:
    """The network of a sample, by the names of its directory and file."""
    directory, _, file = name.partition("/")
    first = file.partition("-")[0]
    known = {"osem": "opensensemap", "tts": "ttn", "traccar": "osmand"}
    groups = {"1-sondehub": "sondehub", "2-habitat": "habitat", "3-weather": "weather"}
    return groups.get(directory) or known.get(first, first)

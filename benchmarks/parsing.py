"""What the default sink that parses telemetry costs uploads.

    python -m benchmarks.parsing [--pairs 6] [--seconds 12]

Each upload is a sentence of a payload that nobody uploaded before, the dearest case: it is parsed,
and its TELEM is stored and archived.
"""

from __future__ import annotations

import argparse
import base64
import json
import time

from benchmarks.beside import Beside
from habitat_like.telemetry.checksums import crc16_ccitt
from tests.support.gateway import ARCHIVE_SINK, Habitat

PARSER_SINK = "habitat_like.telemetry.ParserSink"


def upload(number: int) -> bytes:
    """A reception of the sentence of that number."""
    now = int(time.time())
    clock = time.strftime("%H:%M:%S", time.gmtime(now))
    text = (
        f"BIRD{number % 50},{number},{clock},51.{number % 10000:04d},-0.1280,{number % 30000},4.7"
    )
    sentence = f"$${text}*{crc16_ccitt(text.encode())}\n".encode()
    message = {
        "callsign": f"M0{number % 200:03d}",
        "type": "RECEIVED_TELEM",
        "time_created": now,
        "time_uploaded": now,
        "data": {"string": base64.b64encode(sentence).decode(), "frequency": 434075000},
    }
    return json.dumps(message).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12)
    chosen = parser.parse_args()
    gateway = Habitat()

    def switch(parses: bool) -> None:
        # Else the sink would begin with what came in without it.
        for path in gateway.directory.glob("*.sqlite*"):
            path.unlink()
        gateway.config["sinks"] = [ARCHIVE_SINK, PARSER_SINK] if parses else [ARCHIVE_SINK]

    def parsed(parses: bool) -> str:
        if not parses:
            return ""
        sink = gateway.status()["sinks"][PARSER_SINK]
        return f"; {sink['counts']['parsed']} parsed, {sink['backlog']} behind"

    try:
        Beside(gateway, upload).compare(chosen.pairs, chosen.seconds, switch, parsed)
    finally:
        gateway.close()


if __name__ == "__main__":
    main()

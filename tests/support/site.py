"""A gateway behind nginx that many tests share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.reply import Reply, one_line

#: Its limits.
MAX_BODY = 100_000
MAX_HEADERS = 4096

_callsigns = count(1)


class Site:
    """A gateway with the embedded archive, behind nginx."""

    def __init__(self) -> None:
        limits = {"max_body": MAX_BODY, "max_headers": MAX_HEADERS}
        self.gateway = Habitat({"gateway": limits})
        self.front = Nginx(self.gateway)

    def start(self) -> None:
        """Start both, and wait until they serve."""
        self.gateway.start()
        self.front.start()

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        self.front.close()
        self.gateway.close()

    def post(
        self, body: Any, path: str = "/message", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Post bytes as they are and all else as JSON."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.front.request("POST", path, payload, headers)

    def accepted(self, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post a message with a callsign of its own; what was archived of it."""
        callsign = f"T{next(_callsigns)}"
        payload = (
            body.replace(b"M0ZDR", callsign.encode())
            if isinstance(body, bytes)
            else {**body, "callsign": callsign}
        )
        reply = self.post(payload, headers=headers)
        assert (reply.status, reply.body) == (200, b"OK"), reply
        (document,) = self.archived(callsign)
        return document

    def archived(self, callsign: str | None = None) -> list[dict[str, Any]]:
        """What is archived (of one callsign), once the journal is empty."""
        return self.gateway.documents(callsign)

    def written(self) -> int:
        """How many messages were ever written."""
        number: int = self.gateway.status()["journal"]["last_seq"]
        return number

    def refused(self, body: Any, status: int = 400) -> str:
        """Post what must be refused and must change nothing; the one line of the answer."""
        before = self.written()
        reply = self.post(body)
        assert reply.status == status, reply
        assert self.written() == before, "a refused request was written"
        return one_line(reply)

    def check_alive(self) -> None:
        """The gateway serves; a dead one is started again, for the tests that come."""
        try:
            alive = self.gateway.scgi("GET", "/readyz").status == 200
        except OSError:
            alive = False
        if not alive:
            self.gateway.restart(kill=True)
        assert alive, f"the gateway died:\n{self.gateway.log[-4000:]}"

"""The process that uploads what the scene's devices send: `python -m tools.demo.uploads URL`.

One connection to nginx, over which the devices speak in turn, once a second. What a device has not
got rid of, as the gateway refused it or was away, it sends the next time, as real ones do.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import signal
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tools.demo.device import Device, Upload
from tools.demo.scene import Scene

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
#: Seconds from one turn to the next, for an answer, and from one complaint to the next.
PAUSE, TIMEOUT, COMPLAIN = 1.0, 10.0, 60.0
#: Seconds of the past that a device sends at most after a failure.
KEPT = 3600.0


class Away(Exception):
    """The gateway did not take an upload; the text says why."""


class Front:
    """A connection to nginx, opened when it is needed."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            place.hostname or "127.0.0.1", place.port, timeout=TIMEOUT
        )

    def send(self, upload: Upload) -> int:
        """Send it; the status of the answer. Raises Away if it should be sent again."""
        try:
            self._connection.request(upload.method, upload.path, upload.body, dict(upload.headers))
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Away(str(error) or type(error).__name__) from None
        if answer.status >= 500 or answer.status == 429:
            raise Away(f"{answer.status} {answer.reason}")
        return answer.status

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class Turns:
    """The turns of the devices of a scene. ``done`` is up to when each has uploaded."""

    def __init__(self, scene: Scene) -> None:
        self.devices = scene.devices
        self.done: dict[Device, float] = {one: one.begin - 1 for one in scene.devices}
        self._is_live = False

    def take(self, front: Front, now: float) -> str | None:
        """Have each upload what it has at the UNIX time ``now``; why that failed, if it did.

        Stops early where a stop signal waits.
        """
        problem = None
        for device in self.devices:
            since = self.done[device]
            if self._is_live:
                since = max(since, now - KEPT)
            try:
                for upload in device.uploads(since, now):
                    if signal.sigpending() & STOP_SIGNALS:
                        return None
                    front.send(upload)
            except Away as error:
                problem = str(error)
                continue
            self.done[device] = now
        self._is_live = self._is_live or problem is None
        return problem


def seconds() -> Iterator[float]:
    """The UNIX time, once a second until a stop signal comes."""
    while True:
        yield time.time()
        if signal.sigtimedwait(STOP_SIGNALS, PAUSE) is not None:
            return


def main() -> int:
    """Upload until told to stop; the exit code."""
    parser = argparse.ArgumentParser(description="Upload what simulated devices send.")
    parser.add_argument("url", help="where the gateway is")
    parser.add_argument("--seed", type=int, default=1, help="decides all that chance decides")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    complained = -COMPLAIN
    turns = Turns(Scene(int(time.time()), arguments.seed))
    with contextlib.closing(Front(arguments.url)) as front:
        for now in seconds():
            problem = turns.take(front, now)
            if problem is not None and time.monotonic() > complained + COMPLAIN:
                print(f"demo: an upload failed, and is tried again: {problem}", file=sys.stderr)
                complained = time.monotonic()
    return 0


if __name__ == "__main__":
    sys.exit(main())

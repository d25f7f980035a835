"""Waiting for a condition: the one place in the tests that sleeps."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

from habitat_like.archive import ArchiveUnavailable

T = TypeVar("T")

#: Seconds after which a wait gives up. No test takes so long, however busy the machine is, and
#: a wait that succeeds ends with its condition.
PATIENCE = 120.0
#: Seconds between two looks after a while.
REST = 0.2


def eventually(
    predicate: Callable[[], T], what: str = "", *, timeout: float = PATIENCE, pause: float = 0.02
) -> T:
    """Call ``predicate`` until it returns something true, and return that.

    An AssertionError, OSError, HTTPException or ArchiveUnavailable in it means "not yet". After
    ``timeout`` seconds the test fails with ``what`` and the last answer. A pause is as long as the
    look before it, and grows up to ``REST`` in a long wait: each look costs the machine.
    """
    begin = time.monotonic()
    while True:
        last: object
        looked = time.monotonic()
        try:
            result = predicate()
        except (
            AssertionError,
            OSError,
            http.client.HTTPException,
            ArchiveUnavailable,
        ) as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if result:
                return result
            last = repr(result)
        now = time.monotonic()
        if now > begin + timeout:
            name = what or getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"not within {timeout:g} s: {name}; last: {last}")
        time.sleep(max(pause, now - looked, min((now - begin) / 20, REST)))


def away_from_midnight() -> None:
    """Wait for a new day (UTC) where it is near: what a test does then is all of one day."""
    eventually(
        lambda: time.time() % 86400 < 86400 - PATIENCE, "midnight is past", timeout=2 * PATIENCE
    )

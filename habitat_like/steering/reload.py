"""Reload: what can change while the gateway runs, and who waits for it. No I/O."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from habitat_like.config.keys import Config, facts

#: The keys that a reload applies; everything else needs a restart.
RELOADABLE = frozenset(key.name for key in facts().values() if key.reloadable)


class Reloaded(NamedTuple):
    """What a reload did: keys that are in force, keys that wait for a restart, sinks that failed.

    ``refused`` is why nothing at all was changed, None otherwise.
    """

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    refused: str | None = None


class ReloadQueue:
    """Those who asked for a reload and wait for its outcome. Thread-safe."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[str, Future[Reloaded]]] = queue.SimpleQueue()
        # Set once reloads have ended, before those still waiting are told.
        self._is_closed = False

    def ask(self, by: str) -> Future[Reloaded]:
        """Wait for the next ``run``; ``by`` says who asks. ``close`` cancels the outcome."""
        outcome: Future[Reloaded] = Future()
        self._asked.put((by, outcome))
        if self._is_closed:
            self._cancel()
        return outcome

    def run(self, reload: Callable[[str], Reloaded]) -> None:
        """Call ``reload`` once for all who asked, with their names; SIGHUP if nobody did."""
        asked = self._take()
        outcome = reload(", ".join(by for by, _ in asked) or "SIGHUP")
        for _, future in asked:
            if future.set_running_or_notify_cancel():
                future.set_result(outcome)

    def close(self) -> None:
        """Cancel pending and future requests."""
        self._is_closed = True
        self._cancel()

    def _take(self) -> list[tuple[str, Future[Reloaded]]]:
        asked = []
        with contextlib.suppress(queue.Empty):
            while True:
                asked.append(self._asked.get_nowait())
        return asked

    def _cancel(self) -> None:
        for _, outcome in self._take():
            outcome.cancel()


def differences(old: Config, new: Config) -> Iterator[str]:
    """The dotted keys whose values differ."""
    for key in facts():
        if _get(old, key) != _get(new, key):
            yield key


def put_in_force(old: Config, new: Config) -> Config:
    """``old`` with what is reloadable taken from ``new``.

    What needs a restart is unchanged, so that what is shown is true and a later reload names it
    again.
    """
    sections: dict[str, Any] = {}
    for key in RELOADABLE:
        section, _, name = key.partition(".")
        if name:
            before = sections.get(section, getattr(old, section))
            sections[section] = msgspec.structs.replace(before, **{name: _get(new, key)})
        else:
            sections[section] = getattr(new, section)
    return msgspec.structs.replace(old, **sections)


def _get(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(config, section)
    return getattr(value, name) if name else value

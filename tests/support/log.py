"""What a gateway says: in its log, and when it doesn't start."""

from __future__ import annotations

import json
from typing import Any

from tests.support.gateway import Habitat
from tests.support.wait import eventually


def log_entries(habitat: Habitat) -> list[dict[str, Any]]:
    """The lines of the log that are whole JSON objects."""
    entries = []
    for line in habitat.log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def logged(habitat: Habitat, text: str) -> list[dict[str, Any]]:
    """The log's entries whose message contains ``text``."""
    return [entry for entry in log_entries(habitat) if text in str(entry["message"])]


def wait_for_log(habitat: Habitat, text: str, number: int = 1) -> list[dict[str, Any]]:
    """The log's entries whose message contains ``text``, once there are ``number`` of them.

    What a request shows may be logged after its answer, and the log is written by a thread of its
    own.
    """

    def found() -> list[dict[str, Any]]:
        entries = logged(habitat, text)
        return entries if len(entries) >= number else []

    return eventually(found, f"{number} times in the log: {text}")


def plain_lines(habitat: Habitat) -> list[str]:
    """What stands on stdout and stderr beside the log's JSON lines."""
    return [line for line in habitat.log.splitlines() if not line.startswith("{")]


def refusal(habitat: Habitat, code: int = 1) -> str:
    """Start it where it must not start; the one line that says why."""
    habitat.start(ready=False)
    assert habitat.wait() == code
    (line,) = plain_lines(habitat)
    assert line.startswith("habitat: ")
    return line

"""A sink of one's own, as docs/extending.md shows: a club's logbook of what was received."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from habitat_like.journal.reader import Entry
from habitat_like.message import from_document
from habitat_like.message_server import JournalSink

#: MHz: the bands in which balloons send.
BANDS = ((144, 146), (430, 440), (863, 870))


class Logbook(JournalSink):
    """Appends a line to the logbook for each packet: when, who, on which frequency, how strong.

    After a crash it may have a line twice. A frequency in none of the bands is no entry for the
    logbook: the message becomes a dead letter, so that its station can be told.
    """

    types = frozenset({"RECEIVED_TELEM"})

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """``path`` is that of the logbook."""

        path: str

    settings: Settings

    def process(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Write a line for each; those refused, with the reason."""
        refused = []
        with Path(self.settings.path).open("a", encoding="utf-8") as logbook:
            for entry in entries:
                message = from_document(entry.document)
                megahertz = message.data.get("frequency", 0) / 1e6
                if not any(low <= megahertz <= high for low, high in BANDS):
                    callsign = message.listener.callsign
                    why = f"{megahertz:.6f} MHz is in no band of ours"
                    refused.append((entry, f"{why}: does {callsign} send it in MHz, not in Hz?"))
                    continue
                line = {
                    "time": message.time_created,
                    "callsign": message.listener.callsign,
                    "megahertz": round(megahertz, 4),
                    "snr": message.data.get("snr"),
                }
                logbook.write(f"{json.dumps(line)}\n")
        return refused

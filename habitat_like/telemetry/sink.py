"""ParserSink: the sink that parses received packets and pushes their contents as TELEM."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Sequence

import msgspec

from habitat_like.journal.reader import Entry
from habitat_like.message_server.intake import Intake
from habitat_like.message_server.sinks import JournalSink, Refusal
from habitat_like.telemetry import configuration, names, packets
from habitat_like.telemetry.configuration import Payloads
from habitat_like.telemetry.fix import ParseError
from habitat_like.telemetry.horus import NO_NAMES, Names

log = logging.getLogger(__name__)

#: Reasons that are counted apart.
MAX_REASONS = 64


class _Data(msgspec.Struct):
    """The parts of a message's data that can hold a packet."""

    string: str | msgspec.UnsetType = msgspec.UNSET
    raw: str | msgspec.UnsetType = msgspec.UNSET


class _Received(msgspec.Struct):
    type: str
    time_created: int
    time_uploaded: int
    data: _Data
    suspicious: str | None = None


_decode = msgspec.json.Decoder(_Received).decode


class ParserSink(JournalSink):
    """Reads RECEIVED_TELEM, and ``raw`` of observations.

    What can't be parsed is counted by reason, and archived as it came. ``counts`` has the packets
    that were ``parsed``, and the others by reason.
    """

    batch = 200

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """Files: payload configurations, names and custom fields of Horus Binary payloads."""

        payloads: str | None = None
        payload_ids: str | None = None
        custom_fields: str | None = None

    settings: Settings

    def __init__(self, server: Intake) -> None:
        super().__init__(server)
        self._payloads = Payloads([])
        self._names: Names = NO_NAMES

    def setup(self) -> None:
        """Read the files. Raises ConfigError."""
        if self.settings.payloads is not None:
            self._payloads = configuration.load(self.settings.payloads)
        self._names = names.read(self.settings.payload_ids, self.settings.custom_fields)

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Push the fixes in these messages."""
        for entry in entries:
            # Most messages of other types have neither; this spares decoding them.
            if b'"string":"' not in entry.document and b'"raw":"' not in entry.document:
                continue
            try:
                self._parse(entry)
            except Exception as error:
                # One message must not hold up the next, whatever is in it.
                self._count(ParseError("defect", f"{type(error).__name__}: {error}"), entry)
        return ()

    def _parse(self, entry: Entry) -> None:
        try:
            received = _decode(entry.document)
        except msgspec.ValidationError:
            return  # another type's data: no packet
        text = received.data.string if received.type == "RECEIVED_TELEM" else received.data.raw
        if not isinstance(text, str) or received.type == packets.TELEM:
            return
        try:
            packet = base64.b64decode(text, validate=True)
        except binascii.Error:
            return
        # A date that can't be right doesn't tell when it was received.
        when = received.time_uploaded if received.suspicious else received.time_created
        fixes, problems = packets.read(packet, self._payloads, self._names)
        for fix in fixes:
            self.server.push_message(packets.message(fix, when, received.time_uploaded))
            self.counts["parsed"] += 1
        for problem in problems:
            self._count(problem, entry)

    def _count(self, problem: ParseError, entry: Entry) -> None:
        kind = problem.kind
        if kind not in self.counts and len(self.counts) >= MAX_REASONS:
            kind = "other"
        self.counts[kind] += 1
        extra = {"sink": self.name, "seq": entry.seq, "why": f"{problem.kind}: {problem}"}
        log.debug("a packet can't be understood", extra=extra)

"""ParserSink: the sink that parses received packets and pushes their contents as TELEM."""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Sequence

import msgspec

from habitat_like.journal.reader import Entry
from habitat_like.message_server.intake import Intake
from habitat_like.message_server.sinks import Example, JournalSink, Refusal
from habitat_like.telemetry import configuration, names, packets
from habitat_like.telemetry.configuration import Payloads
from habitat_like.telemetry.fix import Fix, ParseError
from habitat_like.telemetry.horus import NO_NAMES, Names

log = logging.getLogger(__name__)

#: Reasons that are counted apart.
MAX_REASONS = 64
#: Messages after which it looks whether uploads came in meanwhile, the part of its time that it
#: works while they do, and the seconds that it waits for each of them at most.
SLICE, SHARE, PAUSE = 10, 0.1, 0.005
#: The parts of ``journal.max_backlog`` from which it gives way less, and no more.
BEHIND, FAR_BEHIND = 0.1, 0.5
#: What is counted of packets that were understood.
PARSED = "parsed"
#: The kind of error of what the parser should have understood or refused.
DEFECT = "defect"
#: Packets that are remembered, and bytes of the largest of them.
REMEMBERED, REMEMBERED_BYTES = 1000, 1024
#: Characters of a problem that are kept as an example.
SHOWN = 200


class _Data(msgspec.Struct):
    """The parts of a message's data that can hold a packet."""

    string: str | msgspec.UnsetType = msgspec.UNSET
    raw: str | msgspec.UnsetType = msgspec.UNSET


class _Received(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    type: str
    callsign: str
    time_created: int
    time_uploaded: int
    data: _Data


_decode = msgspec.json.Decoder(_Received).decode


class ParserSink(JournalSink):
    """Reads RECEIVED_TELEM, and ``raw`` of observations.

    What can't be parsed is counted by reason, and archived as it came. ``counts`` has the packets
    that were ``parsed``, and the others by reason; ``examples`` the last one of each reason.
    """

    batch = 500
    # Each batch is a commit, beside those of the gateway: few, as nobody waits for them.
    pause = 0.2

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
        # What the last packets say. For the sink's thread alone.
        self._known: dict[bytes, tuple[list[Fix], list[ParseError]]] = {}
        self._max_backlog = server.program.config.journal.max_backlog

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Read the files. Raises ConfigError."""
        _read_files(settings)

    def setup(self) -> None:
        """Read the files. Raises ConfigError."""
        self._payloads, self._names = _read_files(self.settings)

    def read(self, packet: bytes) -> tuple[list[Fix], list[ParseError]]:
        """A packet's contents, and why anything that looked like one is not. Thread-safe."""
        return packets.read(packet, self._payloads, self._names)

    def _read(self, packet: bytes) -> tuple[list[Fix], list[ParseError]]:
        """The same, remembered for a while: several receivers hear a packet."""
        found = self._known.get(packet)
        if found is None:
            found = self.read(packet)
            if len(packet) <= REMEMBERED_BYTES:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[packet] = found
        return found

    def process(self, entries: Sequence[Entry]) -> Sequence[Refusal]:
        """Push the fixes in these messages."""
        seen = self.server.journal.last_seq
        for at in range(0, len(entries), SLICE):
            begin = time.thread_time()
            for entry in entries[at : at + SLICE]:
                # Most messages of other types have neither; this spares decoding them.
                if b'"string":"' in entry.document or b'"raw":"' in entry.document:
                    self._look_into(entry)
            seen = self._give_way(seen, time.thread_time() - begin, entries[-1].seq)
        return ()

    def _give_way(self, seen: int, used: float, seq: int) -> int:
        """Wait as the uploads since ``seen`` require; returns the journal's last message.

        The gateway's thread has to wait for this one: the interpreter has one lock. What is left
        undone is caught up with later; the more there is, the larger this one's share.
        """
        last = self.server.journal.last_seq
        if last > seen:
            part = ((last - seq) / self._max_backlog - BEHIND) / (FAR_BEHIND - BEHIND)
            share = SHARE + (1 - SHARE) * min(max(part, 0), 1)
            self._stopping.wait(min(used * (1 / share - 1), (last - seen) * PAUSE))
        return last

    def _look_into(self, entry: Entry) -> None:
        try:
            received = _decode(entry.document)
        except msgspec.ValidationError:
            return  # another type's data: no packet
        try:
            self._parse(received)
        except Exception as error:
            # One message must not hold up the next, whatever is in it.
            if not self.counts[DEFECT]:
                log.error(  # once: thousands may follow
                    "the parser failed on a packet",
                    extra={"sink": self.name, "seq": entry.seq},
                    exc_info=error,
                )
            self._count(ParseError(DEFECT, f"{type(error).__name__}: {error}"), received)

    def _parse(self, received: _Received) -> None:
        is_packet = received.type == "RECEIVED_TELEM"
        text = received.data.string if is_packet else received.data.raw
        if not isinstance(text, str) or received.type == packets.TELEM:
            return
        try:
            packet = base64.b64decode(text, validate=True)
        except binascii.Error:
            return
        fixes, problems = self._read(packet)
        for fix in fixes:
            self.server.push_message(
                packets.message(fix, received.time_created, received.time_uploaded)
            )
            self.counts[PARSED] += 1
        for problem in problems:
            # What other networks call raw can be anything.
            if is_packet or problem.kind != packets.UNKNOWN:
                self._count(problem, received)

    def _count(self, problem: ParseError, received: _Received) -> None:
        kind = problem.kind
        if kind not in self.counts and len(self.counts) >= MAX_REASONS:
            kind = "other"
        self.counts[kind] += 1
        self.examples[kind] = Example(
            received.time_uploaded, received.callsign, received.id, str(problem)[:SHOWN]
        )


def _read_files(settings: ParserSink.Settings) -> tuple[Payloads, Names]:
    """What the files of the settings hold. Raises ConfigError."""
    known = Payloads([]) if settings.payloads is None else configuration.load(settings.payloads)
    return known, names.read(settings.payload_ids, settings.custom_fields)

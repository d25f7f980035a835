"""Traffic: what the loader sends, and whether all of it that got a 200 is archived once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks import load
from benchmarks.load import DIGITS, MARK, Outcome
from habitat_like.message.types import Registry
from tests.faults.judge import Finding
from tests.faults.ledger import ACKNOWLEDGED

#: A message whose time_created grows by a second with every thousand messages, as ids grow with
#: time where stations' clocks go on.
HEAD = load.HEAD.replace('"time_created": 1295103598', f'"time_created": 1{MARK}e-3')
TAIL = load.TAIL
#: The first message is of 1295103598, and no two seconds share the beginning of an id.
FIRST = 295_103_598_000
A_SECOND = 1000


def message(serial: int) -> bytes:
    """The body of one message."""
    number = f"{serial:0{DIGITS}d}"
    return f"{HEAD.replace(MARK, number)}{number}{TAIL}".encode()


@dataclass
class Verdict:
    """What the comparison found: ``lost`` was answered 200, ``foreign`` was never sent.

    An archive holds an id once, so a message that is archived twice has a second, foreign one.
    """

    acknowledged: int = 0
    archived: int = 0
    lost: Finding = field(default_factory=Finding)
    foreign: Finding = field(default_factory=Finding)


class Traffic:
    """Sends messages that are each unlike any other, and knows their ids.

    ``directory`` keeps the ids. For one thread; a thread beside it makes the ids.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._next = FIRST
        self._files: list[Path] = []
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="ids")
        self._noted: list[Future[None]] = []

    def __enter__(self) -> Traffic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._beside.shutdown(cancel_futures=True)

    def send(
        self,
        target: Path | int,
        seconds: float,
        *,
        rate: float = 0,
        connections: int = 64,
        batch: int = 0,
    ) -> Outcome:
        """Send for so long; the arguments are those of ``benchmarks.load.at_rate``."""
        flags = self._directory / f"flags{len(self._files)}"
        outcome = load.at_rate(
            target,
            "/messages" if batch else "/message",
            rate,
            seconds,
            connections=connections,
            message=(HEAD, TAIL),
            first=self._next,
            batch=batch,
            flags=flags,
        )
        self.note(flags)
        return outcome

    def note(self, flags: Path) -> None:
        """Take in the loader's flags for the messages that come next; the file goes."""
        sent = flags.stat().st_size
        ids = self._directory / f"ids{len(self._files)}"
        self._files.append(ids)
        self._noted.append(self._beside.submit(_note, flags, self._next, ids))
        self._next += -(-sent // A_SECOND) * A_SECOND

    def compare(self, archived: Iterable[str]) -> Verdict:
        """Hold the archive's ids, in their order, against what was sent."""
        for one in self._noted:
            one.result()
        verdict = Verdict()
        found = iter(archived)
        have = next(found, None)
        for identifier, acknowledged in self._ids():
            verdict.acknowledged += acknowledged
            while have is not None and have < identifier:
                verdict.archived += 1
                verdict.foreign.add(have)
                have = next(found, None)
            if have == identifier:
                verdict.archived += 1
                have = next(found, None)
            elif acknowledged:
                verdict.lost.add(identifier)
        while have is not None:
            verdict.archived += 1
            verdict.foreign.add(have)
            have = next(found, None)
        return verdict

    def _ids(self) -> Iterator[tuple[str, bool]]:
        """All ids that were sent, in their order, and whether they got a 200."""
        for path in self._files:
            with path.open(encoding="ascii") as lines:
                for line in lines:
                    identifier, _, acknowledged = line.partition(" ")
                    yield identifier, acknowledged == "1\n"


def _note(flags: Path, first: int, ids: Path) -> None:
    """Turn the loader's flags into ids, and forget them."""
    parse = Registry().parse
    rows = [
        f"{parse(message(first + at), None, 0).id} {int(bool(flag & ACKNOWLEDGED))}\n"
        for at, flag in enumerate(flags.read_bytes())
        if flag
    ]
    ids.write_text("".join(sorted(rows)), encoding="ascii")
    flags.unlink()

"""The judge: compares what stations were told with what is archived."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger import ACKNOWLEDGED, BAD, REFUSED, SENT, Ledger
from tests.faults.messages import Messages, number_of

#: Wrong messages that a verdict names; the others are counted.
SHOWN = 5


@dataclass
class Finding:
    """One way in which a promise was broken, and by which messages."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append(example)


@dataclass
class Verdict:
    """What the comparison found. All findings are empty when every promise was kept.

    ``lost``: answered 200 and not archived. ``doubled``: archived twice. ``altered``: with other
    content. ``foreign``: archived and never sent. ``refused``: answered 4xx, and archived.
    ``turned_away``: good, and answered 4xx. ``let_in``: bad, and answered 200. ``dead``: dead
    letters that should be none. ``unanswered``: still without a 200 when all faults were over.
    """

    sent: int = 0
    acknowledged: int = 0
    archived: int = 0
    lost: Finding = field(default_factory=Finding)
    doubled: Finding = field(default_factory=Finding)
    altered: Finding = field(default_factory=Finding)
    foreign: Finding = field(default_factory=Finding)
    refused: Finding = field(default_factory=Finding)
    turned_away: Finding = field(default_factory=Finding)
    let_in: Finding = field(default_factory=Finding)
    dead: Finding = field(default_factory=Finding)
    unanswered: Finding = field(default_factory=Finding)

    @property
    def findings(self) -> dict[str, Finding]:
        """Those that are not empty."""
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, Finding) and value.count
        }

    def __str__(self) -> str:
        """The findings in a line each."""
        return "\n".join(
            f"{name}: {found.count} ({'; '.join(found.examples)})"
            for name, found in self.findings.items()
        )


def judge(
    ledger: Ledger,
    messages: Messages,
    documents: Iterable[dict[str, Any]],
    dead_letters: Iterable[dict[str, Any]] = (),
    forbidden: Callable[[int], bool] = lambda _: False,
    strangers: int = 0,
) -> Verdict:
    """Compare. ``forbidden`` says which messages the archive refuses: they must be dead letters.

    ``strangers``: so many documents without a number were accepted from others than the stations.
    """
    verdict = Verdict(sent=ledger.count(SENT), acknowledged=ledger.count(ACKNOWLEDGED))
    found = bytearray(len(ledger))
    for document in documents:
        verdict.archived += 1
        number = number_of(document)
        if number < 0 and strangers > 0:
            strangers -= 1
            continue
        flags = ledger[number]
        if not flags & SENT:
            verdict.foreign.add(f"{document.get('_id')}")
            continue
        if flags & (REFUSED | BAD):
            verdict.refused.add(f"{number} is archived as {document['_id']}")
        if found[number]:
            verdict.doubled.add(f"{number} is archived as {document['_id']} too")
        found[number] = 1
        if difference := messages.differs(number, document):
            verdict.altered.add(f"{number}: {difference}")
    _judge_dead(verdict, ledger, dead_letters, forbidden, found)
    for number in range(len(ledger)):
        flags = ledger[number]
        if flags & ACKNOWLEDGED and not found[number]:
            verdict.lost.add(f"{number} was answered 200")
        if flags & REFUSED and not flags & BAD:
            verdict.turned_away.add(f"{number} was answered 4xx")
        if flags & SENT and not flags & (ACKNOWLEDGED | REFUSED):
            verdict.unanswered.add(f"{number} never got its 200")
        if flags & BAD and flags & ACKNOWLEDGED:
            verdict.let_in.add(f"{number} was answered 200")
    return verdict


def _judge_dead(
    verdict: Verdict,
    ledger: Ledger,
    dead_letters: Iterable[dict[str, Any]],
    forbidden: Callable[[int], bool],
    found: bytearray,
) -> None:
    for number in range(len(ledger)):
        if found[number] and forbidden(number):
            verdict.refused.add(f"{number}, which the archive forbids, is archived")
    for document in dead_letters:
        number = number_of(document)
        if not ledger[number] & SENT:
            verdict.foreign.add(f"dead letter {document.get('_id')}")
        elif not forbidden(number):
            verdict.dead.add(f"{number} is a dead letter")
        elif found[number]:
            verdict.doubled.add(f"{number} is archived, or another dead letter too")
        else:
            found[number] = 1

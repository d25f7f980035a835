"""What the parts that serve requests may ask of the program that they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from habitat_like.config.keys import Config
    from habitat_like.journal.journal import Journal
    from habitat_like.message.types import Registry
    from habitat_like.statistics import Collector
    from habitat_like.statistics.status import Trouble
    from habitat_like.steering.access import Access
    from habitat_like.steering.switches import Steering


class Program(Protocol):
    """The program, as its parts see it. They read; a reload replaces values as a whole.

    ``config`` is the configuration in force and ``registry`` the types that stations may send;
    ``started`` is UNIX seconds; ``dead_letters`` are counted by sink, a moment ago.
    """

    config: Config
    registry: Registry
    journal: Journal
    steering: Steering
    access: Access
    started: float
    dead_letters: dict[str, int]

    @property
    def statistics(self) -> Collector | None:
        """The statistics that are kept."""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong, as seen a moment ago, the worst first."""

"""What the parts that serve requests may ask of the program that they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from habitat_like.config.keys import Config
    from habitat_like.journal.journal import Journal
    from habitat_like.message.types import Registry
    from habitat_like.statistics import Collector
    from habitat_like.statistics.status import NetworkStatus, Trouble
    from habitat_like.steering.access import Access
    from habitat_like.steering.switches import Steering


class Networks(Protocol):
    """The networks whose stations upload here."""

    def status(self, now: float) -> dict[str, NetworkStatus]:
        """What came in by each since the start; ``now`` is UNIX seconds."""

    def metrics(self, status: Mapping[str, NetworkStatus]) -> Iterable[Any]:
        """Prometheus metrics that single networks have of their own."""

    def recipes(self, host: str) -> Mapping[str, Sequence[Recipe]]:
        """How to point devices of each network to this server, which they know as ``host``."""


class Recipe(Protocol):
    """What to type into a device."""

    @property
    def title(self) -> str:
        """The device, or its menu."""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each field."""


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

    @property
    def dead_letters(self) -> dict[str, int]:
        """Dead letters by sink."""

    @property
    def networks(self) -> Networks:
        """The networks that are on."""

    @property
    def statistics(self) -> Collector | None:
        """The statistics that are kept."""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong, as seen a moment ago, the worst first."""

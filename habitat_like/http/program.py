"""The program as seen by the parts that serve requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from habitat_like.config.keys import Config
    from habitat_like.journal.journal import Journal
    from habitat_like.message.types import Registry
    from habitat_like.statistics import Aggregator
    from habitat_like.statistics.status import NetworkStatus, Trouble
    from habitat_like.steering.access import Access
    from habitat_like.steering.switches import Steering


class ServingNetworks(Protocol):
    """The networks whose stations upload here."""

    def status(self, now: float) -> dict[str, NetworkStatus]:
        """What each has received since the start; ``now`` is UNIX seconds."""

    def metrics(self, status: Mapping[str, NetworkStatus]) -> Iterable[Any]:
        """Prometheus metrics specific to single networks."""

    def recipes(self, host: str) -> Mapping[str, Sequence[ShownRecipe]]:
        """How to point devices of each network at this server, which they know as ``host``."""


class ShownRecipe(Protocol):
    """What to type into a device."""

    @property
    def title(self) -> str:
        """The device, or its menu."""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each field."""


class ServingProgram(Protocol):
    """The program, as its parts see it. They only read; a reload replaces whole values.

    ``config`` is the configuration in force and ``registry`` the types that stations may send;
    ``started`` is UNIX seconds; ``dead_letters`` are recent counts by sink.
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
    def networks(self) -> ServingNetworks:
        """The networks that are on."""

    @property
    def statistics(self) -> Aggregator | None:
        """The statistics that are kept."""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What was wrong a moment ago, worst first."""

"""What the parts that serve requests may ask of the program that they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from habitat_like.config.keys import Config
    from habitat_like.http.site import Site
    from habitat_like.journal.journal import Journal
    from habitat_like.message.types import Registry
    from habitat_like.statistics import Collector
    from habitat_like.steering.access import Access
    from habitat_like.steering.drain import Drain
    from habitat_like.steering.reload import Reloaded
    from habitat_like.steering.switches import Steering


class Networks(Protocol):
    """The networks whose stations upload here."""

    def status(self, now: float) -> dict[str, dict[str, Any]]:
        """What came in by each since the start; ``now`` is UNIX seconds."""

    def metrics(self, status: dict[str, Any]) -> Iterable[Any]:
        """Prometheus metrics that single networks have of their own."""


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
    def networks(self) -> Networks:
        """The networks that are on."""

    @property
    def statistics(self) -> Collector | None:
        """The statistics that are kept."""


class Process(Program, Protocol):
    """The program as a process of its own, which can be steered from the console and by ``ctl``.

    ``config_path`` is where a reload reads the configuration. Every method is thread-safe.
    """

    config_path: str | None

    @property
    def gateway(self) -> Site:
        """What can be reached, and how it fares."""

    def ask_reload(self, by: str) -> Future[Reloaded]:
        """Have the configuration read again soon; ``by`` says who asks.

        The outcome is cancelled when the program ends before it came to that.
        """

    def drain(self, timeout: float | None, by: str) -> Drain:
        """Take no more uploads, and end once every sink has taken all there is."""

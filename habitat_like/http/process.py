"""The program as the console and the control socket see it: a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from habitat_like.http.program import ServingProgram

if TYPE_CHECKING:
    from concurrent.futures import Future

    from habitat_like.http.site import Site
    from habitat_like.steering.drain import Drain
    from habitat_like.steering.reload import Reloaded


class Process(ServingProgram, Protocol):
    """The program as a process of its own, controlled from the console and by ``ctl``.

    ``config_path`` is where a reload reads the configuration. Every method is thread-safe.
    """

    config_path: str | None

    @property
    def gateway(self) -> Site:
        """What can be reached, and how it is doing."""

    def ask_reload(self, by: str) -> Future[Reloaded]:
        """Have the configuration reread soon; ``by`` says who asks.

        The outcome is cancelled if the program ends before it gets to that.
        """

    def drain(self, timeout: float | None, by: str) -> Drain:
        """Accept no more uploads, and end once the sinks have processed everything."""

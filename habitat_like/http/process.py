"""What the console and the control socket may ask of the program as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from habitat_like.http.program import Program

if TYPE_CHECKING:
    from concurrent.futures import Future

    from habitat_like.http.site import Site
    from habitat_like.steering.drain import Drain
    from habitat_like.steering.reload import Reloaded


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

"""How every thread of the program is started."""

from __future__ import annotations

import threading
from collections.abc import Callable


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a thread whose every unexpected end reaches ``threading.excepthook``.

    Python ends a thread without a word when its code raises SystemExit, which would leave the
    process half dead. The threads are daemons so that one that can't be stopped doesn't keep the
    process from ending; the program joins all of them.
    """

    def run() -> None:
        try:
            target()
        except SystemExit as error:
            raise RuntimeError(f"code in the thread {name!r} tried to end the process") from error

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread

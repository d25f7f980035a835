"""aioscgi on asyncio or uvloop.

python -m benchmarks.peers.asgi SOCKET asyncio|uvloop
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aioscgi import main as aioscgi

from benchmarks.peers.work import Work

WORK = Work()
#: A commit of SQLite takes less time than the way to a thread and back; talking to CouchDB doesn't.
IN_THREAD = os.environ["BENCH_STORE"].startswith("couch:")

Event = dict[str, Any]


async def application(
    scope: Event,
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    event = await receive()
    body = event.get("body", b"")
    while event.get("more_body"):
        event = await receive()
        body += event.get("body", b"")
    if IN_THREAD:
        status, text = await asyncio.to_thread(WORK.take, body)
    else:
        status, text = WORK.take(body)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": headers})
    await send({"type": "http.response.body", "body": text})


def main() -> None:
    """Serve until SIGTERM."""
    path, loop = sys.argv[1:]
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 (the other loop has no need of it)

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # asyncio's queue of 100 connections is shorter than the load.
    asyncio.start_unix_server = functools.partial(asyncio.start_unix_server, backlog=4096)
    sys.argv[1:] = ["--unix-socket", path, "--base-uri", "", "benchmarks.peers.asgi:application"]
    aioscgi.main()


if __name__ == "__main__":
    main()

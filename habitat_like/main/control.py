"""The control socket: how ``habitat ctl`` steers a running gateway.

One JSON object per line, both ways. A request names its ``command``; the answer is one object, with
``error`` if it was refused. During a long command, objects with ``progress`` come first
(docs/control.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Annotated, Any

import msgspec

from habitat_like.config.keys import ControlConfig, socket_mode
from habitat_like.http.listening_socket import ListenError, ListeningSocket, listen_at
from habitat_like.http.process import Process
from habitat_like.steering.drain import Drain
from habitat_like.steering.reload import Reloaded
from habitat_like.steering.switches import SteeringError
from habitat_like.threads import alive, start_thread

logger = logging.getLogger(__name__)

#: Seconds that a client may take to send a request, or to take an answer.
PATIENCE = 10.0
#: Bytes of a request.
MAX_REQUEST = 65536
#: Clients at one time; more are turned away.
MAX_CLIENTS = 16
#: Seconds between looks whether the socket is still there.
LOOK = 1.0
#: Seconds between two lines of progress.
PROGRESS = 0.5
#: Seconds that clients have to read their last answer when the gateway ends.
LAST_ANSWERS = 1.0


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    """A request."""


class _Maintenance(_Command, frozen=True, tag="maintenance"):
    on: bool
    message: str = ""


class _LogLevel(_Command, frozen=True, tag="log-level"):
    level: str


class _SlowLog(_Command, frozen=True, tag="slow-log"):
    seconds: float | None


class _ArchiveLog(_Command, frozen=True, tag="archive-log"):
    on: bool


class _Reload(_Command, frozen=True, tag="reload"):
    pass


class _Drain(_Command, frozen=True, tag="drain"):
    timeout: Annotated[float, msgspec.Meta(ge=0, le=100_000_000)] | None = None


_decoder = msgspec.json.Decoder(
    _Maintenance | _LogLevel | _SlowLog | _ArchiveLog | _Reload | _Drain
)


class ControlServer:
    """Answers requests on the control socket, on its own thread, as soon as it is made.

    Made and ended by the thread that owns the ``program``. Raises ListenError.
    """

    def __init__(self, program: Process, config: ControlConfig) -> None:
        self._program = program
        self._config = config
        # Guards the next two: the socket is made anew by the thread, and removed by close.
        self._lock = threading.Lock()
        self._listener = self._listen()
        self._is_closed = False
        #: Why the socket could not be made anew.
        self._problem: str | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_failure)
        self._clients: dict[asyncio.Task[None], _Client] = {}
        # Both set from outside by call_soon_threadsafe.
        self._closing = asyncio.Event()
        self._ending = asyncio.Event()
        try:
            self._thread = start_thread("control", self._run)
        except BaseException:
            self._listener.unlink()
            self._listener.close()
            raise

    def close(self) -> None:
        """Remove the socket, so that another instance can have it; clients are still served."""
        with self._lock:
            self._is_closed = True
            self._listener.unlink()
        self._tell(self._closing)

    def shutdown(self) -> list[str]:
        """Send waiting clients their last answer, and join the thread.

        Returns its name if it could not be joined.
        """
        self.close()
        self._tell(self._ending)
        self._thread.join(2 * LAST_ANSWERS)
        return alive([self._thread])

    def _tell(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        server = await self._serve()
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._closing.wait()
            if self._listen_again():
                server.close()
                server = await self._serve()
        server.close()
        await self._ending.wait()
        for client in self._clients.values():
            client.hear_no_more()
        if self._clients:
            await asyncio.wait(self._clients, timeout=LAST_ANSWERS)
        # The runner cancels what is left.

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(
            self._connected, sock=self._listener.socket, limit=MAX_REQUEST
        )

    def _listen(self) -> ListeningSocket:
        """Raises ListenError."""
        mode = socket_mode(self._config.socket_mode)
        return listen_at(self._config.socket, mode, section="control")

    def _listen_again(self) -> bool:
        """Make the socket anew where something has removed it; returns whether it is another."""
        with self._lock:
            if self._is_closed or not self._listener.is_gone():
                return False
            try:
                self._listener = self._listen()
            except ListenError as error:
                if self._problem != str(error):
                    self._problem = str(error)
                    logger.error("habitat ctl can't reach this gateway", extra={"why": str(error)})
                return False
            self._problem = None
        extra = {"socket": str(self._listener.path)}
        logger.warning("the control socket was removed, and is made anew", extra=extra)
        return True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (asyncio has made one)
        client = self._clients[task] = _Client(reader, writer, self._program)
        try:
            if len(self._clients) > MAX_CLIENTS:
                await client.send({"error": "too many clients at the control socket"})
            else:
                await client.converse()
        except (TimeoutError, OSError):
            writer.transport.abort()
        finally:
            del self._clients[task]
            writer.close()


def _log_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what goes wrong outside a request, such as an accept without descriptors."""
    why = context.get("exception") or context.get("message")
    logger.error("the control socket has a problem", extra={"why": str(why)})


class _Client:
    """One client of the control socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, program: Process
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._program = program
        # struct ucred, unix(7).
        connection = writer.get_extra_info("socket")
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack(
            "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        self._who = f"ctl uid {uid}"

    async def converse(self) -> None:
        """Answer one request after another. Raises as ``send`` does."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    line = await self._reader.readline()
            except ValueError:
                await self.send({"error": f"a request is over {MAX_REQUEST} bytes"})
                return
            if not line:
                return
            await self.answer(line)

    def hear_no_more(self) -> None:
        """Let ``converse`` end once pending requests are answered."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        self._reader.feed_eof()

    async def send(self, answer: dict[str, Any]) -> None:
        """Send a line. Raises OSError and TimeoutError."""
        self._writer.write(msgspec.json.encode(answer) + b"\n")
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def answer(self, line: bytes) -> None:
        """Do what a request asks and report the result. Raises as ``send`` does."""
        try:
            answer = await self._obey(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            answer = {"error": f"not a request: {error}"}
        except SteeringError as error:
            answer = {"error": str(error)}
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            logger.error("a control command failed", exc_info=error)
            answer = {"error": "the command failed; the gateway's log says why"}
        await self.send(answer)

    async def _obey(self, command: _Command) -> dict[str, Any]:
        program, steering, who = self._program, self._program.steering, self._who
        match command:
            case _Maintenance():
                steering.set_maintenance(command.on, command.message, by=who)
            case _LogLevel():
                steering.set_log_level(command.level, by=who)
            case _SlowLog():
                steering.set_slow_log(command.seconds, by=who)
            case _ArchiveLog():
                steering.set_archive_log(command.on, by=who)
            case _Reload():
                return await self._reload(program.ask_reload(who))
            case _Drain():
                return await self._drain(program.drain(command.timeout, who))
        return {"steering": steering.snapshot()}

    async def _reload(self, reload: Future[Reloaded]) -> dict[str, Any]:
        begin = time.monotonic()
        await self._wait(reload, lambda: {"seconds": round(time.monotonic() - begin, 1)})
        try:
            outcome = reload.result()
        except CancelledError:
            return {"error": "the gateway is shutting down"}
        if outcome.refused is not None:
            return {"error": f"reload refused, the old configuration stays: {outcome.refused}"}
        return {
            "changed": outcome.changed,
            "restart": outcome.restart,
            "problems": outcome.problems,
        }

    async def _drain(self, drain: Drain) -> dict[str, Any]:
        await self._wait(drain.outcome, lambda: {"backlog": drain.backlog()})
        return {"left": drain.outcome.result()}

    async def _wait(self, future: Future[Any], progress: Any) -> None:
        """Wait for another thread's work, sending lines of progress."""
        wrapped = asyncio.wrap_future(future)
        while not wrapped.done():
            await asyncio.wait({wrapped}, timeout=PROGRESS)
            if not wrapped.done():
                await self.send({"progress": progress()})

"""The gateway's thread: one epoll set over all connections, one journal commit for each batch.

What arrives while a commit waits for the disk becomes the next batch, so batches grow with the
load by themselves, and a slow client costs a descriptor but never a thread.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque

from habitat_like.config.keys import ConfigError, socket_mode
from habitat_like.http import scgi
from habitat_like.http.batch import Answer, Committer
from habitat_like.http.connection import Connection, Visit, finish_sending, send
from habitat_like.http.handler import SCGIHandler, find_unread
from habitat_like.http.listening_socket import ListenError, ListeningSocket, listen_at
from habitat_like.http.response import Refused, Response, crowded, to_reply, unavailable
from habitat_like.http.site import Site
from habitat_like.http.workers import Done, Workers
from habitat_like.journal.journal import Row

log = logging.getLogger(__name__)

READ_SIZE = 65536
#: A batch collects requests for this many times as long as a commit takes. The clients of one
#: batch then get answers, and send again, while the next is read: nobody waits for all others.
COLLECT = 2
#: Seconds between two looks at deadlines, and the longest wait for an event.
TICK = 1.0
#: Seconds that a half-read request has to arrive completely when the gateway stops.
STOP_GRACE = 1.0
#: Seconds between two lines in the log about the same thing.
LOG_EVERY = 60.0
#: The share of ``gateway.timeout`` that a request may have to wait for a thread of the slow lane.
#: Above that it is refused at once: otherwise it would hold a place only to be refused later.
PATIENCE = 0.5
#: Threads for bulk actions, and for large or compressed bodies of fast ones: separate, so that
#: uploads never wait for a user's own slow actions. They are CPU-bound, so more than one gains
#: nothing.
BULK_WORKERS = 1


class Gateway:
    """All state of one gateway thread. Made and started by SCGIApplication.

    ``run`` is the thread. Other threads call ``report`` and ``stop``; everything else is the
    thread's own.
    """

    def __init__(self, site: Site, listening: ListeningSocket, timeout: float) -> None:
        config = site.program.config.gateway
        self._site = site
        self._server = site.server
        self._metrics = site.metrics
        self._listening = listening
        self._timeout = timeout
        self._max_batch = config.max_batch
        self._tick = min(TICK, timeout / 4)
        self._epoll = select.epoll()
        self._epoll.register(listening.socket.fileno(), select.EPOLLIN)
        self._accepting = True
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        # Filled by workers, emptied here; deque.append and popleft are atomic.
        self._done: deque[Done] = deque()
        # Slow requests whose answers, and so whose bodies, are in the current batch.
        self._answered: list[SCGIHandler] = []
        self._stop_at: float | None = None
        self._committer = Committer(site, self._send)
        self._next_tick = 0.0
        self._malformed_since = 0
        self._malformed_at = -LOG_EVERY
        self._paused_at = -LOG_EVERY
        self._cut_off_at = -LOG_EVERY
        self.workers = Workers("worker", config.workers, site.server, self.report)
        self.bulk = Workers("bulk", BULK_WORKERS, site.server, self.report)
        #: Monotonic time of the last turn, for the watchdog.
        self.beat = time.monotonic()

    def report(self, done: Done) -> None:
        """Accept the outcome of a slow action. Called on a worker's thread."""
        self._done.append(done)
        self._wake()

    def stop(self, timeout: float) -> None:
        """Start stopping: answer what has been read, within ``timeout`` seconds. Thread-safe."""
        self._stop_at = time.monotonic() + timeout
        self._wake()

    def run(self) -> None:
        """Serve until ``stop``, then end cleanly."""
        try:
            while self._stop_at is None:
                self._turn(self._tick)
            self._finish(self._stop_at)
        finally:
            self._close()

    def _wake(self) -> None:
        try:
            os.eventfd_write(self._wake_fd, 1)
        except OSError:
            log.debug("wake after close")

    def _turn(self, timeout: float) -> bool:
        """Handle all that is ready, commit once, answer all; returns whether there was anything."""
        events = self._epoll.poll(timeout, self._max_batch)
        now = self.beat = time.monotonic()
        if events:
            answers: list[Answer] = []
            with self._server.transaction() as rows:
                for fd, _ in events:
                    connection = self._connections.get(fd)
                    if connection is not None:
                        self._ready(connection, answers, rows)
                    elif fd == self._wake_fd:
                        self._collect(answers, rows)
                    else:
                        self._accept(answers, rows, now)
            if answers:
                self._committer.answer(answers, rows)
            while self._answered:
                self._answered.pop().release()
            self._site.connections = len(self._connections)
        if now >= self._next_tick:
            self._next_tick = now + self._tick
            self._on_tick(now)
        return bool(events)

    def _accept(self, answers: list[Answer], rows: list[Row], now: float) -> None:
        """Accept what waits in the kernel; most requests are complete by then and never wait."""
        # The raw call gives a bare descriptor: a socket object each would cost more than parsing.
        accept = self._listening.socket._accept  # type: ignore[attr-defined]
        config = self._site.limits
        # From now, not from the start of the turn: slow senders can't keep others out.
        enough = time.monotonic() + COLLECT * self._committer.seconds
        while len(answers) < self._max_batch and time.monotonic() < enough:
            try:
                fd, _ = accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._pause(error)
                return
            os.set_blocking(fd, False)
            try:
                data = os.read(fd, READ_SIZE)
            except BlockingIOError:
                self._wait(fd, b"", now)
                continue
            except OSError:
                os.close(fd)
                continue
            if not data:
                os.close(fd)
                continue
            try:
                request = scgi.parse(data, config.max_headers, config.max_body)
            except scgi.ScgiError as error:
                self._malformed(Connection(fd, now, now + self._timeout), data, error)
                continue
            if isinstance(request, int):
                self._wait(fd, data, now)
            else:
                self._handle(fd, request, now, answers, rows)

    def _wait(self, fd: int, data: bytes, now: float) -> None:
        """Keep a connection whose request has only got as far as ``data``."""
        connection = Connection(fd, now, now + self._timeout)
        if self._is_crowded():
            self._linger(connection, self._refuse_unread(data, _CROWDED))
            return
        limits = self._site.limits
        parser = connection.parser = scgi.RequestParser(limits.max_headers, limits.max_body, data)
        if not self._hold(connection, parser.body_size):
            self._too_much(connection, data)
            return
        self._connections[fd] = connection
        self._epoll.register(fd, select.EPOLLIN)

    def _hold(self, connection: Connection, size: int) -> bool:
        """Take room for the ``size`` bytes of a body that have arrived; False if there is none."""
        if not self._site.bodies.take(size - connection.held):
            return False
        connection.held = size
        return True

    def _release(self, connection: Connection) -> None:
        """Give back the room for a partial request that is no longer kept."""
        if connection.held:
            self._site.bodies.give(connection.held)
            connection.held = 0
        connection.parser = None

    def _too_much(self, connection: Connection, data: bytes) -> None:
        """Tell a client that there is no room for its body; ``data`` has arrived so far."""
        self._release(connection)
        self._linger(connection, self._refuse_unread(data, _TOO_MUCH))

    def _is_crowded(self) -> bool:
        return len(self._connections) >= self._site.limits.max_connections

    def _ready(self, connection: Connection, answers: list[Answer], rows: list[Row]) -> None:
        """Handle a waiting connection that can now be read or written."""
        if connection.out is not None:
            self._send_rest(connection)
            return
        try:
            data = os.read(connection.fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(connection)
            os.close(connection.fd)
            return
        if connection.parser is None or connection.draining:
            return
        try:
            request = connection.parser.feed(data)
        except scgi.ScgiError as error:
            data = connection.parser.received
            self._forget(connection)
            self._malformed(connection, data, error)
            return
        if request is not None:
            self._forget(connection)
            self._handle(connection.fd, request, connection.started, answers, rows)
        elif not self._hold(connection, connection.parser.body_size):
            data = connection.parser.received
            self._forget(connection)
            self._too_much(connection, data)

    def _handle(
        self,
        fd: int,
        request: scgi.Request,
        started: float,
        answers: list[Answer],
        rows: list[Row],
    ) -> None:
        """Run a complete request here, or hand it to the slow lane."""
        before = len(rows)
        handler = SCGIHandler(request, None, self._site)
        reply = handler.handle()
        if reply is None:
            if not self._is_crowded() and self._give_away(fd, request, started, handler):
                return
            reply = handler.refuse(_CROWDED)
        if reply.changes_nothing:
            del rows[before:]
        pushed = len(rows) > before
        refuse = handler.own_refuse if pushed else None
        answers.append(Answer(fd, started, handler.name, handler.ip, reply, pushed, refuse))

    def _give_away(
        self, fd: int, request: scgi.Request, started: float, handler: SCGIHandler
    ) -> bool:
        """Hand a request to its mount or lane; False if too much is waiting there."""
        assert handler.action is not None  # noqa: S101 (a request without one is answered already)
        host = handler.action.host
        workers = self.bulk if handler.lane == "bulk" else self.workers
        if host is None and workers.delay >= self._timeout * PATIENCE:
            return False
        if not handler.hold():
            return False
        if host is not None:
            if host.put(Visit(fd, request, handler.path, handler.release)):
                return True
            handler.release()
            return False
        connection = Connection(fd, started, time.monotonic() + self._timeout)
        connection.action, connection.ip, connection.waiting = handler.name, handler.ip, True
        connection.refuse = handler.own_refuse
        self._connections[fd] = connection
        workers.put(connection, handler)
        return True

    def _collect(self, answers: list[Answer], rows: list[Row]) -> None:
        """Add what the slow lane has finished to this batch."""
        os.eventfd_read(self._wake_fd)
        while self._done:
            done = self._done.popleft()
            connection = done.connection
            if connection.abandoned:
                done.handler.release()
                continue
            self._answered.append(done.handler)
            del self._connections[connection.fd]
            rows.extend(done.rows)
            answers.append(
                Answer(
                    connection.fd,
                    connection.started,
                    done.handler.name,
                    done.handler.ip,
                    done.reply,
                    bool(done.rows),
                    connection.refuse,
                )
            )

    def _send(self, fd: int, data: bytes) -> None:
        """Send a reply and close, or keep the connection until its client has taken the rest."""
        sent = send(fd, data)
        if sent is None or sent == len(data):
            os.close(fd)
            return
        now = time.monotonic()
        connection = Connection(fd, now, now + self._timeout)
        connection.out = memoryview(data)[sent:]
        self._connections[fd] = connection
        self._epoll.register(fd, select.EPOLLOUT)

    def _send_rest(self, connection: Connection) -> None:
        assert connection.out is not None  # noqa: S101 (the caller looked)
        sent = send(connection.fd, connection.out)
        if sent is not None and sent < len(connection.out):
            connection.out = connection.out[sent:]
            return
        self._forget(connection)
        os.close(connection.fd)

    def _refuse_unread(self, data: bytes, refusal: Response) -> bytes:
        """The reply, in its own protocol, to a request of which only ``data`` has arrived."""
        handler = find_unread(scgi.peek(data), self._site)
        reply = handler.refuse(refusal)
        self._metrics.requests[handler.name, reply.status] += 1
        return reply.data

    def _malformed(self, connection: Connection, data: bytes, error: scgi.ScgiError) -> None:
        """Answer a request that can't be parsed; the log gets one line a minute."""
        reply = self._refuse_unread(data, Refused(int(error.status), str(error)).response())
        if type(error) is scgi.ScgiError:
            self._metrics.malformed += 1
            self._malformed_since += 1
            now = time.monotonic()
            if now - self._malformed_at >= LOG_EVERY:
                log.warning(
                    "malformed requests", extra={"why": str(error), "count": self._malformed_since}
                )
                self._malformed_at, self._malformed_since = now, 0
        self._linger(connection, reply)

    def _linger(self, connection: Connection, reply: bytes) -> None:
        """Answer before the whole request is read, then read the rest and discard it.

        Closing at once would interrupt the client's sending, and it would never read the answer.
        """
        send(connection.fd, reply)
        finish_sending(connection.fd)
        connection.draining = True
        if len(self._connections) >= 2 * self._site.limits.max_connections:
            os.close(connection.fd)
            return
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN)

    def _forget(self, connection: Connection) -> None:
        """Remove a connection from the set; its descriptor stays open, its data is dropped."""
        self._release(connection)
        if self._connections.pop(connection.fd, None) is not None and not connection.waiting:
            self._epoll.unregister(connection.fd)

    def _drop(self, connection: Connection, refusal: Response) -> None:
        """End a connection early, sending ``refusal`` if that is still possible."""
        data = b"" if connection.parser is None else connection.parser.received
        self._forget(connection)
        connection.abandoned = True
        if connection.out is None and not connection.draining:
            if connection.waiting:
                refuse = connection.refuse or to_reply
                reply = refuse(refusal)
                self._metrics.requests[connection.action, reply.status] += 1
                send(connection.fd, reply.data)
            else:
                send(connection.fd, self._refuse_unread(data, refusal))
        os.close(connection.fd)

    def _on_tick(self, now: float) -> None:
        for connection in list(self._connections.values()):
            if now < connection.deadline:
                continue
            self._metrics.timeouts += 1
            status = 503 if connection.waiting else 408
            if connection.out is None and not connection.draining:
                waited = now - connection.started
                self._committer.log_slow(connection.action, connection.ip, status, waited)
            self._drop(connection, _TOO_SLOW if connection.waiting else _TIMED_OUT)
        if not self._accepting and self._stop_at is None:
            self._epoll.register(self._listening.socket.fileno(), select.EPOLLIN)
            self._accepting = True
        if self._stop_at is None and self._listening.is_gone():
            self._listen_again(now)
        self._committer.probe()

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: leave clients in the kernel's queue for a tick."""
        now = time.monotonic()
        if now - self._paused_at >= LOG_EVERY:
            log.error("can't accept connections for now", extra={"why": error.strerror})
        self._paused_at = now
        self._epoll.unregister(self._listening.socket.fileno())
        self._accepting = False

    def _listen_again(self, now: float) -> None:
        """Make the socket anew after something has removed it."""
        config = self._site.program.config.gateway
        gone = self._listening
        try:
            self._listening = listen_at(
                gone.path, socket_mode(config.socket_mode), config.socket_group
            )
        except (ListenError, ConfigError) as error:
            if now - self._cut_off_at >= LOG_EVERY:
                log.error("the socket is gone, nobody can connect", extra={"why": str(error)})
                self._cut_off_at = now
            return
        log.warning("the socket was removed, and is made anew", extra={"socket": str(gone.path)})
        if self._accepting:
            self._epoll.unregister(gone.socket.fileno())
        gone.close()
        self._epoll.register(self._listening.socket.fileno(), select.EPOLLIN)
        self._accepting = True

    def _finish(self, deadline: float) -> None:
        """Answer complete requests, refuse the others, wait for the slow lane."""
        listening = self._listening
        if listening.inherited:
            # New connections now wait in the kernel for the next instance.
            if self._accepting:
                self._epoll.unregister(listening.socket.fileno())
        else:
            listening.unlink()
            if not self._accepting:
                self._epoll.register(listening.socket.fileno(), select.EPOLLIN)
        self._accepting = not listening.inherited
        begin = time.monotonic()
        grace = min(begin + STOP_GRACE, deadline)
        while (now := time.monotonic()) < deadline:
            if self._accepting and self._queue_is_empty():
                self._epoll.unregister(listening.socket.fileno())
                self._accepting = False
            if not self._connections and not self._accepting and not self._done:
                break
            # Clients that have sent something go first.
            if not self._turn(min(0.05, deadline - now)) and now >= grace:
                for connection in list(self._connections.values()):
                    if connection.out is None and not connection.waiting:
                        self._drop(connection, _STOPPING)
        for connection in list(self._connections.values()):
            self._drop(connection, _STOPPING)

    def _queue_is_empty(self) -> bool:
        poll = select.poll()
        poll.register(self._listening.socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def _close(self) -> None:
        for connection in self._connections.values():
            self._release(connection)
            os.close(connection.fd)
        self._connections.clear()
        self._listening.unlink()
        self._listening.close()
        self._epoll.close()

    def close(self) -> None:
        """Close what other threads use; called once they are all joined."""
        os.close(self._wake_fd)


_CROWDED = unavailable("too many requests are waiting")
_TOO_MUCH = crowded().response()
_TOO_SLOW = unavailable("the action took too long")
_STOPPING = unavailable("the gateway is shutting down")
_TIMED_OUT = Refused(408, "the request did not arrive in time").response()

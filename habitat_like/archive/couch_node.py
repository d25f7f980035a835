"""CouchNode: HTTP to one host of CouchDB through couchdb-python, with its traps closed.

The library (version 1.2) writes the request, reuses connections, and repeats a request once if
the connection is reset before an answer comes; that is harmless here because every document
carries its own ``_id``. Its poor error handling is bypassed in one place: its connections are
ours (``couch_connection``), which read the whole answer themselves, under a deadline, and raise
``CouchRefused`` for every status that is not 2xx. That avoids all of these:

- no timeout by default, and none at all for an answer that trickles in;
- an error without Content-Type raises TypeError, one over 8 kB or chunked AttributeError, one that
  is not JSON ValueError, and an HTML one is lost and gives the connection back twice;
- redirects are followed, with the password, to wherever they point, and remembered forever;
- GET answers are cached without a size limit, and looked up in HEAD's answers;
- a connection whose request failed is left open, a chunked answer costs its connection;
- credentials in the URL that contain ``@`` or ``:`` break the URL;
- ``simplejson`` replaces the standard library's json if it happens to be installed.

With TLS (``couchdbs``) the server's certificate and name are always checked. The authorities are
those of the operating system, or those in the file that the environment variable ``SSL_CERT_FILE``
names (https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/).
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from typing import Any, Literal

import couchdb
import couchdb.http
import couchdb.json

from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.couch_connection import (
    WHOLE,
    CouchRefused,
    CouchTooSlow,
    Pool,
    TooLarge,
    one_line,
)
from habitat_like.archive.couch_uri import CouchUri

couchdb.json.use("json")

Method = Literal["get", "post", "put", "delete"]


class CouchNode:
    """One host that serves the databases of ``uri``.

    ``timeout`` is in seconds, for each of: connecting, sending a piece, waiting for a piece of the
    answer. A whole request may take ``couch_connection.WHOLE`` times that. One thread at a time,
    except ``interrupt``. Nothing is connected before the first request.
    """

    def __init__(self, uri: CouchUri, netloc: str, timeout: float) -> None:
        """Build couchdb-python's objects; no I/O."""
        tls = uri.scheme == "couchdbs"
        #: The host's address as http:// or https://, without credentials.
        self.base = f"http{'s' if tls else ''}://{netloc}"
        self._timeout = timeout
        self._pool = Pool(timeout, ssl.create_default_context() if tls else None)
        session = couchdb.http.Session(timeout=timeout, retry_delays=[0])
        session.connection_pool = self._pool
        session.cache = _NoCache()
        self._server = couchdb.Server(self.base + "/", session=session)
        if uri.user is not None:
            self._server.resource.credentials = (uri.user, uri.password or "")

    @property
    def interrupted(self) -> bool:
        """Whether ``interrupt`` was called."""
        return self._pool.interrupted

    def send(
        self,
        method: Method,
        *path: str,
        body: bytes | None = None,
        most: int | None = None,
        patience: float | None = None,
        whole: float = WHOLE,
        **parameters: Any,
    ) -> tuple[int, bytes]:
        """Send one request and return the 2xx status and the whole answer.

        ``path`` holds its parts from the database's name on, quoted here. ``patience`` replaces the
        node's timeout, and the request may take ``whole`` times that. Raises CouchRefused for any
        other status, TooLarge for an answer of more than ``most`` bytes (None: no limit),
        ArchiveUnavailable when there is no whole answer. A request answered by a reset is sent
        again, so it must be harmless to repeat.
        """
        if body is not None:
            parameters |= {"body": body, "headers": {"Content-Type": "application/json"}}
        send = getattr(self._server.resource, method)
        self._pool.most = most
        self._pool.timeout = self._timeout if patience is None else patience
        self._pool.whole = whole
        try:
            status, _, data = send(list(path) or None, **parameters)
        except CouchRefused:
            raise
        except TooLarge:
            self._pool.drop()
            raise
        except Exception as error:
            self._pool.drop()
            # Depending on what a peer sends, the library and http.client raise OSError,
            # HTTPException, ValueError, AttributeError and more: each means "no usable answer".
            raise ArchiveUnavailable(self._why(error)) from error
        return status, b"" if data is None else data.read()

    def interrupt(self) -> None:
        """Cut the connections and make every later request fail. Thread-safe.

        It can't cut short the host name lookup, which the operating system's resolver bounds.
        """
        self._pool.interrupt()

    def close(self) -> None:
        """Close the connections. The next request reopens one."""
        self._pool.drop(idle=True)

    def _why(self, error: Exception) -> str:
        if self._pool.interrupted:
            return f"CouchDB at {self.base}: interrupted, the program is stopping"
        what = f"can't be reached ({error})"
        if isinstance(error, ssl.SSLCertVerificationError):
            what = (
                f"has a certificate that can't be trusted ({error.verify_message}):"
                " name its authority's file in the environment variable SSL_CERT_FILE"
            )
        elif isinstance(error, ssl.SSLError):
            what = f"doesn't speak TLS as it should ({one_line(str(error))}): check archive.uri"
        elif isinstance(error, CouchTooSlow):
            what = f"did not finish its answer in {error.seconds:g} s: look at its load"
        elif isinstance(error, TimeoutError):
            what = (
                f"did not answer within {self._pool.timeout:g} s: look at its load (it may be"
                " building an index), or raise archive.timeout"
            )
        elif isinstance(error, socket.gaierror):
            what = f"can't be found ({error.strerror}): check the host in archive.uri"
        elif isinstance(error, OSError):
            reason = error.strerror or str(error) or type(error).__name__
            if error.errno is not None and not error.strerror:
                reason = os.strerror(error.errno)
            what = f"can't be reached ({one_line(reason)}): check that it runs"
        elif isinstance(error, http.client.HTTPException):
            text = one_line(f"{type(error).__name__}: {error}")
            what = f"sent a broken or cut-off answer ({text})"
        else:
            what = f"sent something unexpected ({one_line(f'{type(error).__name__}: {error}')})"
        return f"CouchDB at {self.base} {what}"


class _NoCache:
    """Replaces the library's cache, which never drops a large answer: it stores nothing."""

    def get(self, url: str) -> None:
        """Nothing is known."""

    def put(self, url: str, response: Any) -> None:
        """Nothing is kept."""

    def remove(self, url: str) -> None:
        """There is nothing to remove."""

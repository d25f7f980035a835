"""The WSGI application for uWSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.work import Work

WORK = Work()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    status, text = WORK.take(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
    start_response(status, headers)
    return [text]

"""Notifications to the service manager, and the limits that it sets."""

from __future__ import annotations

import logging
import os
import resource
import socket

logger = logging.getLogger(__name__)

#: Open files beside the connections: the journal, the archive, the log, and those of the console
#: and the control socket, whose clients are not among the gateway's connections.
SPARE_FILES = 256


def notify(*lines: str) -> None:
    """Notify systemd (sd_notify(3)), if it runs us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # An abstract socket is written with a leading @.
    address = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        logger.debug("sd_notify failed", extra={"why": error.strerror})


def raise_file_limit(wanted: int) -> None:
    """Allow ``wanted`` open files if the hard limit does; the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        logger.warning(
            "the limit on open files is too low for gateway.max_connections",
            extra={"limit": limit, "wanted": wanted},
        )

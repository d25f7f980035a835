"""A listening socket: at our own path, or handed over by systemd."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path

from scgi import systemd_socket

from habitat_like.config.keys import ConfigError
from habitat_like.disk import check_links

#: Connections that may wait in the kernel, which caps this at net.core.somaxconn.
BACKLOG = 4096


class ListenError(Exception):
    """The socket can't be opened; one line says why and what to do."""


class ListeningSocket:
    """A non-blocking listening UNIX socket.

    ``inherited`` means that systemd owns it: it stays, with the requests waiting in it, when this
    process ends.
    """

    def __init__(self, sock: socket.socket, path: Path, inherited: bool) -> None:
        self.socket = sock
        self.path = path
        self.inherited = inherited
        sock.setblocking(False)
        self._identity = None if inherited else _identity(path)

    def is_gone(self) -> bool:
        """Whether our path has been removed, so that nobody can connect any more."""
        if self._identity is None:
            return False
        try:
            self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            pass  # its directory can't be searched for now
        return False

    def unlink(self) -> None:
        """Remove our path, so that no new client can connect; those waiting can still be served."""
        # Another instance may have put its own socket there in the meantime.
        if self._identity is not None and _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)
        self._identity = None

    def close(self) -> None:
        """Close our end."""
        self.socket.close()


def open_socket(path: str | Path, mode: int, group: str | None) -> ListeningSocket:
    """Take over systemd's socket (LISTEN_FDS, sd_listen_fds(3)), or listen at ``path``.

    The arguments, and what is raised, are as for ``listen_at``.
    """
    try:
        inherited = systemd_socket.get_systemd_socket()
    except OSError as error:
        raise ListenError(f"LISTEN_FDS: {error}; the gateway takes exactly one socket") from None
    if inherited is not None:
        return ListeningSocket(inherited, Path(path), inherited=True)
    return listen_at(path, mode, group)


def listen_at(
    path: str | Path, mode: int, group: str | None = None, section: str = "gateway"
) -> ListeningSocket:
    """Listen at ``path``; a stale socket file is taken over, a live one is left alone.

    ``mode`` is the permission bits, ``group`` the group's name; ``section`` is the section of the
    configuration that sets these. Raises ListenError, and ConfigError for an unknown group.
    """
    path = Path(path)
    key = f"{section}.socket"
    try:
        check_links(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        _clear(path, key)
        return ListeningSocket(_bind(path, mode, group), path, inherited=False)
    except OSError as error:
        raise ListenError(
            f"{key} {path}: {error.strerror}; check the directory and its rights"
        ) from None


def is_live(path: str | Path) -> bool:
    """Whether a process listens at ``path``. Raises OSError if that can't be found out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # its queue is full, so a process owns it
        return True


def _clear(path: Path, key: str) -> None:
    """Remove a dead instance's socket. Raises ListenError for anything else."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ListenError(f"{key} {path}: this is not a socket; choose another path")
    if is_live(path):
        raise ListenError(
            f"{key} {path}: another instance is listening; stop it, or choose another path"
        )
    path.unlink(missing_ok=True)


def _bind(path: Path, mode: int, group: str | None) -> socket.socket:
    gid = -1
    if group:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            raise ConfigError(
                f"gateway.socket_group: there is no group {group!r}; create it with groupadd"
            ) from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Never more permissive than asked for: bind creates the file with the socket's own mode.
        os.fchmod(sock.fileno(), 0)
        sock.bind(os.fspath(path))
        _give(path, mode, gid)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EPERM and group and error.filename != str(path):
            raise ListenError(
                f"gateway.socket_group: no right to give the socket to {group!r}; run as a member "
                "of it"
            ) from None
        raise
    return sock


def _give(path: Path, mode: int, gid: int) -> None:
    """Set the permissions of the socket just made at ``path``, and of nothing else."""
    # By descriptor: in another user's directory the name may mean a different file by now.
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        ours = stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or status.st_nlink > 1:
            raise OSError(errno.EPERM, "another file has come in its place", str(path))
        itself = f"/proc/self/fd/{found}"  # there is no other call for it
        if gid >= 0:
            os.chown(itself, -1, gid)
        Path(itself).chmod(mode)
    finally:
        os.close(found)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def exchange(path: str, request: bytes, timeout: float) -> bytes:
    """The whole reply to an SCGI ``request`` on the UNIX socket at ``path``.

    ``timeout`` is in seconds, for each step. Raises OSError, as TimeoutError, FileNotFoundError
    and ConnectionRefusedError.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(request)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
        if not pieces:
            raise ConnectionAbortedError("it closed the connection")
        return b"".join(pieces)

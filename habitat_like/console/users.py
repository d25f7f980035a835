"""Users: who may use the console, from ``console.password_file``.

A line is ``name:hash``, the hash made by ``habitat console passwd``, or ``name:hash:viewer`` for
one who may look but change nothing. Empty lines and those that begin with # are skipped.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from habitat_like import passwords
from habitat_like.config.keys import ConfigError
from habitat_like.disk import Directory, read_file

#: The cost of a user's hash: 32 MB and some 80 ms.
COST = 2**15
#: Bytes of a password file, at most: thousands of users.
LARGEST = 1024 * 1024
#: Characters of a new password, at least.
SHORTEST = 8
#: What a user may do: all, or look at everything but addresses and settings.
OPERATOR, VIEWER = "operator", "viewer"
ROLES = (OPERATOR, VIEWER)
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class UsersError(ConfigError):
    """The password file can't be used; one line that says why."""


class User(NamedTuple):
    """A user's password, as a hash, and role."""

    stored: str
    role: str


class Users:
    """The users in the file ``path``, which is read again whenever it has changed. Thread-safe."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._verifier = passwords.Verifier()
        # Guards the four below.
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int, int] | None = None
        self._users: dict[str, User] = {}
        self._secret = b""
        # For each cost that one of the hashes has, a hash that no password has.
        self._decoys: dict[passwords.Cost, str] = {}
        # Held while a password is checked: guessing gets one core, uploads the others.
        self._looking = threading.Lock()

    def is_right(self, name: str | None, password: str) -> bool:
        """Whether this is the user's password; None as ``name`` is nobody. Raises UsersError.

        Each refusal takes the same work, for every user, for unknown names and for nobody, so that
        timing doesn't reveal who has an account.
        """
        known, _, decoys = self._present()
        user = None if name is None else known.get(name)
        stored = user and user.stored
        given = password.encode(errors="surrogatepass")
        if stored is not None and self._verifier.remembers(stored, given):
            return True
        own = None if stored is None else passwords.cost_of(stored)
        right = False
        with self._looking:
            # One look for each cost that the file has, commonly one.
            for cost, nobody in decoys.items():
                looked_at = stored if stored is not None and cost == own else nobody
                right |= self._verifier.is_right(looked_at, given)
        return right

    def is_known(self, name: str) -> bool:
        """Whether there is such a user. Raises UsersError."""
        return name in self._present()[0]

    def role(self, name: str) -> str | None:
        """The user's role, None for an unknown one. Raises UsersError."""
        user = self._present()[0].get(name)
        return user and user.role

    @property
    def secret(self) -> bytes:
        """A key for signing sessions: with any change of the file all sessions end.

        It is derived from the hashes and their salts, so sessions outlive a restart, and several
        gateways with the same file share them. Raises UsersError.
        """
        return self._present()[1]

    def _present(self) -> tuple[dict[str, User], bytes, dict[passwords.Cost, str]]:
        with self._lock:
            try:
                state = self._path.stat()
                # Also whatever makes an unreadable file readable.
                seen = (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)
                if seen != self._seen:
                    data = read_file(self._path, LARGEST)
                    self._users = _parse(data, self._path)
                    self._secret = hmac.digest(b"habitat console sessions", data, hashlib.sha256)
                    hashes = {user.stored for user in self._users.values()}
                    costs = {passwords.cost_of(stored) for stored in hashes}
                    self._decoys = {cost: passwords.decoy(cost) for cost in costs}
                    self._verifier.keep(hashes)
                    self._seen = seen
            except OSError as error:
                raise UsersError(f"console.password_file: {self._path}: {error.strerror}") from None
            return self._users, self._secret, self._decoys


def read(path: Path) -> dict[str, User]:
    """The users by name. Raises UsersError, and OSError if the file can't be read."""
    return _parse(read_file(path, LARGEST), path)


def _parse(data: bytes, path: Path) -> dict[str, User]:
    """The users in what ``path`` holds. Raises UsersError."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsersError(f"console.password_file: {path}: not UTF-8 text") from None
    found: dict[str, User] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, stored, role = _split(line)
        try:
            check_name(name)
            if not passwords.is_hash(stored):
                raise ValueError("no hash after the name")
            passwords.check(stored)
            if role not in ROLES:
                raise ValueError(f"{role[:32]!r} is no role ({', '.join(ROLES)})")
        except ValueError as error:
            raise UsersError(
                f"console.password_file: {path} line {number}: {error};"
                " create it with habitat console passwd"
            ) from None
        found[name] = User(stored, role)
    if not found:
        raise UsersError(
            f"console.password_file: {path}: it has no users; create one with habitat console "
            "passwd"
        )
    return found


def _split(line: str) -> tuple[str, str, str]:
    """Name, hash and role in a line; a line without a role is an operator's."""
    name, _, rest = line.strip().partition(":")
    stored, _, role = rest.partition(":")
    return name, stored, role or OPERATOR


def check_name(name: str) -> None:
    """Raise ValueError for what can't be a user's name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is not a user name (1 to 64 of A-Z a-z 0-9 . _ @ -)")


def check_password(password: str) -> None:
    """Raise ValueError for a password that is too easily guessed."""
    if len(password) < SHORTEST:
        raise ValueError(f"The password is too short: it needs {SHORTEST} characters or more")


def write(
    path: Path,
    name: str,
    password: str | None,
    reader: tuple[int, int] | None = None,
    role: str | None = None,
) -> bool:
    """Set the user's password in the file, or take the user out of it (None).

    Without a ``role`` the user keeps the present one; a new one is an operator.
    Everything else in the file stays. The file is replaced as a whole, readable by its owner
    alone where it is new. Root names the ``reader``, the gateway's user and group, who becomes the
    owner of a file that it could not read. Returns whether the user was there before. Raises
    OSError, also for a link or a file with a second name: what is in it may be nobody's password.
    """
    with Directory(path.parent) as directory:
        text, before = "", None
        if directory.status(path.name) is not None:
            data, before = directory.read(path.name, LARGEST)
            text = data.decode("utf-8-sig")
        lines = text.splitlines()
        kept = [line for line in lines if _split(line)[0] != name]
        known = len(kept) < len(lines)
        if password is not None:
            present = next((_split(line)[2] for line in lines if _split(line)[0] == name), OPERATOR)
            # An operator's line is as it was before there were roles.
            end = "" if (role or present) == OPERATOR else f":{role or present}"
            kept.append(f"{name}:{passwords.make_hash(password, COST)}{end}")
        with directory.replacing(path.name, 0o600) as file:
            file.write("".join(f"{line}\n" for line in kept).encode())
            # By descriptor: the directory's owner may put something else under the name.
            if before is not None:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o777)
            if reader is not None and not _may_read(os.fstat(file.fileno()), reader):
                os.fchown(file.fileno(), *reader)
                os.fchmod(file.fileno(), 0o600)
    return known


def _may_read(state: os.stat_result, reader: tuple[int, int]) -> bool:
    user, group = reader
    if user == state.st_uid:
        return bool(state.st_mode & stat.S_IRUSR)
    if group == state.st_gid:
        return bool(state.st_mode & stat.S_IRGRP)
    return bool(state.st_mode & stat.S_IROTH)

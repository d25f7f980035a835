"""Passwords of stations and of the console's users: hashes by scrypt (RFC 7914). No I/O.

A station's may also be in clear text in the station list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Container
from typing import NamedTuple

from habitat_like.config.addresses import network_of
from habitat_like.threads import RateLimiter

#: What a hash begins with; no clear-text password may.
PREFIX = "scrypt$"
#: The cost of a new hash: 8 MB and about 20 ms. It is paid once for each station and start.
COST, BLOCK, PARALLEL = 2**13, 8, 1
#: The highest cost that a hash in the list may ask for: 128 * cost * block bytes of memory.
MAX_MEMORY = 64 * 1024 * 1024

_HASH = re.compile(
    r"scrypt\$([0-9]{1,7})\$([0-9]{1,2})\$([0-9]{1,2})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)"
)


class _Hash(NamedTuple):
    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes


def make_hash(password: str, cost: int = COST) -> str:
    """A new hash of ``password``, as it goes into the station list or the console's file."""
    salt = os.urandom(16)
    digest = _scrypt(password.encode(), _Hash(cost, BLOCK, PARALLEL, salt, b""))
    return f"{PREFIX}{cost}${BLOCK}${PARALLEL}${_base64(salt)}${_base64(digest)}"


def is_hash(stored: str) -> bool:
    """Whether the entry in the station list is a hash."""
    return stored.startswith(PREFIX)


def check(stored: str) -> None:
    """Raise ValueError for what begins like a hash but can't be computed."""
    if is_hash(stored):
        _parse(stored)


class Cost(NamedTuple):
    """The cost of checking a password: scrypt's parameters N, r and p."""

    cost: int
    block: int
    parallel: int


def cost_of(stored: str) -> Cost:
    """The cost of the hash ``stored``. Raises ValueError for a broken one."""
    return Cost(*_parse(stored)[:3])


def decoy(cost: Cost) -> str:
    """A hash that no password has, as costly to check as others of that ``cost``."""
    salt, digest = _base64(os.urandom(16)), _base64(os.urandom(32))
    return f"{PREFIX}{cost.cost}${cost.block}${cost.parallel}${salt}${digest}"


class Verifier:
    """Checks passwords, in a time that does not depend on how wrong they are.

    scrypt is slow on purpose. So a hash's right password, once seen, is remembered as a keyed
    digest; from then on a yes costs microseconds. A no always costs scrypt: otherwise the time
    would reveal which accounts were used. Thread-safe.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        # Digests of right passwords by their hash in the list. Single operations of a dict.
        self._known: dict[str, bytes] = {}

    def is_right(self, stored: str, password: bytes) -> bool:
        """Whether ``password`` matches ``stored`` in the station list."""
        given = self._digest(password)
        if not is_hash(stored):
            return hmac.compare_digest(self._digest(stored.encode()), given)
        if self.remembers(stored, password):
            return True
        parts = _parse(stored)
        if not hmac.compare_digest(_scrypt(password, parts), parts.digest):
            return False
        self._known[stored] = given
        return True

    def is_quick(self, stored: str) -> bool:
        """Whether ``is_right`` answers in microseconds."""
        return not is_hash(stored) or stored in self._known

    def remembers(self, stored: str, password: bytes) -> bool:
        """Whether ``password`` was right for the hash ``stored`` before; costs no scrypt."""
        known = self._known.get(stored)
        return known is not None and hmac.compare_digest(known, self._digest(password))

    def keep(self, stored: Container[str]) -> None:
        """Forget every hash that is not in ``stored``."""
        for one in list(self._known):
            if one not in stored:
                del self._known[one]

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._key, digest_size=32).digest()


def _parse(stored: str) -> _Hash:
    match = _HASH.fullmatch(stored)
    if match is None:
        raise ValueError("the password's hash is broken")
    cost, block, parallel = (int(number) for number in match.groups()[:3])
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in match.groups()[3:])
    except binascii.Error:
        raise ValueError("the password's hash is not valid base64") from None
    memory = 128 * cost * block
    if cost < 2 or cost & (cost - 1) or not 0 < memory <= MAX_MEMORY or not 1 <= parallel <= 4:
        raise ValueError("the password's hash has a cost that is out of range")
    if not 16 <= len(digest) <= 64:
        raise ValueError("the password's hash has a digest of a wrong length")
    return _Hash(cost, block, parallel, salt, digest)


def _scrypt(password: bytes, parts: _Hash) -> bytes:
    return hashlib.scrypt(
        password,
        salt=parts.salt,
        n=parts.cost,
        r=parts.block,
        p=parts.parallel,
        maxmem=2 * MAX_MEMORY,
        dklen=len(parts.digest) or 32,
    )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


#: Passwords checked in a row from one address for one account; then one every ``REFILL`` seconds.
TRIES = 10
REFILL = 6.0

#: Maximum pairs of address and account remembered; beyond it the least recently used is forgotten.
MAX_PAIRS = 10_000

#: Maximum addresses that count as an account's own; beyond it the least recently used is forgotten.
MAX_OWN = 4

#: A station's number, or the name of a user of the console.
Account = int | str


class Limiter:
    """Bounds the passwords checked from each address for each account.

    The addresses from which an account was last used with its right password are its own: every
    password from there is checked. So an attacker can't lock anybody out, whether from elsewhere
    or from a shared address. Times are monotonic seconds. Thread-safe.
    """

    def __init__(self) -> None:
        # Guards the two below.
        self._lock = threading.Lock()
        # By account: its addresses, the last one used at the end.
        self._own: dict[Account, tuple[str, ...]] = {}
        # By place and account: an address counts with its network.
        self._tries = RateLimiter(60 / REFILL, TRIES, MAX_PAIRS)

    def take(self, address: str | None, account: Account, now: float) -> bool:
        """Whether to check a password from ``address`` for ``account``.

        It is counted in the same step, so that concurrent tries get no more than sequential ones.
        """
        place = network_of(address)
        pair = (place, account)
        with self._lock:
            if place in self._own.get(account, ()):
                return True
            if self._tries.wait(pair, now):
                return False
            self._tries.take(pair, now)
            return True

    def right(self, address: str | None, account: Account) -> None:
        """Remember that the account is used from ``address``, and reset the count there."""
        place = network_of(address)
        with self._lock:
            others = [one for one in self._own.get(account, ()) if one != place]
            self._own[account] = (*others, place)[-MAX_OWN:]
            self._tries.forget((place, account))

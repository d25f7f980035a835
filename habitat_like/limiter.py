"""How often a password may be tried. No I/O."""

from __future__ import annotations

import threading
from collections import OrderedDict

from habitat_like.addresses import network_of

#: Wrong passwords in a row from one address for one account that are looked at; then one every
#: ``REFILL`` seconds.
TRIES = 10
REFILL = 6.0
#: Pairs of address and account that are remembered; over it the one unused for longest is
#: forgotten.
MAX_PAIRS = 10_000

#: A station's number, or the name of a user of the console.
Account = int | str
_Pair = tuple[str, Account]


class Limiter:
    """Bounds the wrong passwords from each address for each account.

    The address from which an account was last used with its right password is its own: from there
    every password is looked at. So whoever guesses from elsewhere can't lock anybody out, and
    can't tell a wrong password from one that was not looked at. Times are monotonic seconds.
    Thread-safe.
    """

    def __init__(self) -> None:
        # Guards the two below.
        self._lock = threading.Lock()
        self._own: dict[Account, str] = {}
        # By pair: how many tries were left, and when that was.
        self._tries: OrderedDict[_Pair, tuple[float, float]] = OrderedDict()

    def may_try(self, address: str | None, account: Account, now: float) -> bool:
        """Whether a password from ``address`` for ``account`` is looked at."""
        place = network_of(address)
        with self._lock:
            return self._own.get(account) == place or self._left((place, account), now) >= 1

    def wrong(self, address: str | None, account: Account, now: float) -> None:
        """Count a password that was looked at and was wrong."""
        pair = (network_of(address), account)
        with self._lock:
            self._tries[pair] = (max(self._left(pair, now) - 1, 0), now)
            self._tries.move_to_end(pair)
            if len(self._tries) > MAX_PAIRS:
                self._tries.popitem(last=False)

    def right(self, address: str | None, account: Account) -> None:
        """Remember where the account is used."""
        with self._lock:
            self._own[account] = network_of(address)

    def _left(self, pair: _Pair, now: float) -> float:
        left, then = self._tries.get(pair, (TRIES, now))
        return min(left + (now - then) / REFILL, TRIES)

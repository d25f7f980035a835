"""Access: who may upload, and how much. No I/O.

Every upload passes here twice. ``Access.enter`` looks at its address before its action runs, and
``Admission.admit`` at the callsign of each message that the action pushes, whichever action it is.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from habitat_like.config.addresses import Address, Networks, parse
from habitat_like.config.keys import AccessConfig

#: Addresses, and callsigns, whose rate is remembered; over it the one that sent least recently is
#: forgotten. Callsigns can be forged, so without a bound they would take all memory.
MAX_REMEMBERED = 65536

#: Why something was refused, as counted.
DENIED_ADDRESS = "denied_address"
BLOCKED_CALLSIGN = "blocked_callsign"
RATE_ADDRESS = "rate_address"
RATE_CALLSIGN = "rate_callsign"


class Denied(Exception):
    """This address or callsign may not upload at all; the text is one line for the station."""


class TooMany(Exception):
    """This address or callsign sends too much; ``retry_after`` are whole seconds."""

    def __init__(self, text: str, wait: float) -> None:
        self.retry_after = max(math.ceil(wait), 1)
        super().__init__(f"{text}; try again in {self.retry_after} s")


class Rate:
    """A token bucket for each key: ``burst`` tokens at most, ``per_minute`` new ones.

    Kept as the time at which a bucket is full again (the generic cell rate algorithm). It may be
    in debt: who is let in takes all that it needs, and waits longer after it. So what is sent at
    once can be more than ``burst``, and yet not more on average. Times are in seconds. Not
    thread-safe.
    """

    def __init__(self, per_minute: int, burst: int) -> None:
        self.per_minute = per_minute
        self.burst = burst
        self._interval = 60 / per_minute
        self._room = (burst - 1) * self._interval
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Seconds until there is a token, 0 while there is one."""
        return max(self._full_at.get(key, now) - now - self._room, 0)

    def take(self, key: str, now: float) -> None:
        """Take a token, also one that is not there yet."""
        known = self._full_at
        known[key] = max(known.get(key, now), now) + self._interval
        known.move_to_end(key)
        if len(known) > MAX_REMEMBERED:
            known.popitem(last=False)

    @property
    def remembered(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)


class Access:
    """The access rules in force, and what they refused.

    ``clock`` gives monotonic seconds. Thread-safe. Raises ValueError for a wrong network.
    """

    def __init__(self, config: AccessConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Guards the rates and the counts.
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            (DENIED_ADDRESS, BLOCKED_CALLSIGN, RATE_ADDRESS, RATE_CALLSIGN), 0
        )
        self._by_address: Rate | None = None
        self._by_callsign: Rate | None = None
        self.configure(config)

    def configure(self, config: AccessConfig) -> None:
        """Put ``config`` in force. A rate that stays the same goes on where it is."""
        allow = Networks(config.allow) if config.allow else None
        deny = Networks(config.deny) if config.deny else None
        with self._lock:
            self._allow, self._deny = allow, deny
            self._blocked = frozenset(callsign.upper() for callsign in config.blocked_callsigns)
            burst = config.rate_burst
            self._by_address = _rate(self._by_address, config.rate_per_address, burst)
            self._by_callsign = _rate(self._by_callsign, config.rate_per_callsign, burst)
            #: Whether there is any rule; without one nobody needs to enter.
            self.active = bool(self._blocked) or any(
                rule is not None for rule in (allow, deny, self._by_address, self._by_callsign)
            )

    @property
    def refused(self) -> dict[str, int]:
        """How many requests and messages were refused, by the reason."""
        return dict(self._counts)

    def enter(self, ip: str | None) -> Admission:
        """Let in an upload from ``ip``, for its messages. Raises Denied and TooMany."""
        address = parse(ip)
        with self._lock:
            if not self._is_welcome(address):
                self._counts[DENIED_ADDRESS] += 1
                raise Denied("this address may not upload here")
            key = "" if address is None else address.network
            if self._by_address is not None:
                now = self._clock()
                if wait := self._by_address.wait(key, now):
                    self._counts[RATE_ADDRESS] += 1
                    raise TooMany("too many messages from this address", wait)
                self._by_address.take(key, now)
        return Admission(self, key)

    def _is_welcome(self, address: Address | None) -> bool:
        """A denied address is not, whatever is allowed; one that isn't known is no allowed one."""
        if address is None:
            return self._allow is None
        if self._deny is not None and address in self._deny:
            return False
        return self._allow is None or address in self._allow

    def admit(self, admission: Admission, callsign: str) -> None:
        """See ``Admission.admit``."""
        with self._lock:
            if callsign in self._blocked:
                self._counts[BLOCKED_CALLSIGN] += 1
                raise Denied(f"callsign: {callsign} may not upload here")
            now = self._clock()
            if self._by_callsign is not None:
                wait = self._by_callsign.wait(callsign, now)
                if wait and callsign not in admission.callsigns:
                    self._counts[RATE_CALLSIGN] += 1
                    raise TooMany(f"callsign: too many messages of {callsign}", wait)
                admission.callsigns.add(callsign)
                self._by_callsign.take(callsign, now)
            if admission.paid:
                admission.paid = False
            elif self._by_address is not None:
                self._by_address.take(admission.network, now)


class Admission:
    """One upload that was let in, from an address in ``network``. Used by one thread at a time.

    An upload is let in as a whole: to refuse a part of a batch because of the part before it would
    mean that a batch larger than the burst could never come in.
    """

    __slots__ = ("_access", "callsigns", "network", "paid")

    def __init__(self, access: Access, network: str) -> None:
        self._access = access
        self.network = network
        #: The request itself took the token of its first message.
        self.paid = True
        self.callsigns: set[str] = set()

    def admit(self, callsign: str) -> None:
        """Let in a message of ``callsign``, in upper case. Raises Denied and TooMany."""
        self._access.admit(self, callsign)


def _rate(before: Rate | None, per_minute: int | None, burst: int) -> Rate | None:
    if per_minute is None:
        return None
    if before is not None and (before.per_minute, before.burst) == (per_minute, burst):
        return before
    return Rate(per_minute, burst)

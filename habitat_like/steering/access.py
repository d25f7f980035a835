"""Access: who may upload, and how much. No I/O.

Every upload is checked twice: ``Access.enter`` checks its address before its action runs, and
``Admission.admit`` the callsign of each message the action pushes, whichever action it is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from habitat_like.config.addresses import Address, IpNetworks, parse
from habitat_like.config.keys import AccessConfig
from habitat_like.threads import RateLimiter

#: Maximum addresses, and callsigns, whose rate is remembered; beyond it the least recent sender is
#: forgotten. Callsigns can be forged, so unbounded they would take all memory.
MAX_REMEMBERED = 65536

#: Why something was refused, as counted.
DENIED_ADDRESS = "denied_address"
BLOCKED_CALLSIGN = "blocked_callsign"
RATE_ADDRESS = "rate_address"
RATE_CALLSIGN = "rate_callsign"


class Denied(Exception):
    """This address or callsign may not upload at all; the text is one line for the station."""


class TooMany(Exception):
    """This address or callsign sends too much; ``retry_after`` is in whole seconds."""

    def __init__(self, text: str, wait: float) -> None:
        self.retry_after = max(math.ceil(wait), 1)
        super().__init__(f"{text}; try again in {self.retry_after} s")


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
        self._by_address: RateLimiter | None = None
        self._by_callsign: RateLimiter | None = None
        self.configure(config)

    def configure(self, config: AccessConfig) -> None:
        """Apply ``config``. An unchanged rate keeps its state."""
        allow = IpNetworks(config.allow) if config.allow else None
        deny = IpNetworks(config.deny) if config.deny else None
        with self._lock:
            self._allow, self._deny = allow, deny
            self._blocked = frozenset(callsign.upper() for callsign in config.blocked_callsigns)
            burst = config.rate_burst
            self._by_address = _rate(self._by_address, config.rate_per_address, burst)
            self._by_callsign = _rate(self._by_callsign, config.rate_per_callsign, burst)
            #: Whether there is any rule; without one ``enter`` isn't needed.
            self.active = bool(self._blocked) or any(
                rule is not None for rule in (allow, deny, self._by_address, self._by_callsign)
            )

    @property
    def refused(self) -> dict[str, int]:
        """How many requests and messages were refused, by reason."""
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
        """Deny takes precedence over allow; an unknown address is not an allowed one."""
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
    """One admitted upload, from an address in ``network``. Used by one thread at a time.

    An upload is admitted as a whole: if an earlier part of a batch could get the rest refused, a
    batch larger than the burst could never come in.
    """

    __slots__ = ("_access", "callsigns", "network", "paid")

    def __init__(self, access: Access, network: str) -> None:
        self._access = access
        self.network = network
        #: The request itself took its first message's token.
        self.paid = True
        self.callsigns: set[str] = set()

    def admit(self, callsign: str) -> None:
        """Let in a message of ``callsign``, in upper case. Raises Denied and TooMany."""
        self._access.admit(self, callsign)


def _rate(before: RateLimiter | None, per_minute: int | None, burst: int) -> RateLimiter | None:
    if per_minute is None:
        return None
    if before is not None and (before.per_minute, before.burst) == (per_minute, burst):
        return before
    return RateLimiter(per_minute, burst, MAX_REMEMBERED)

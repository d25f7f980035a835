"""Runner: one request of a network, from its arrival to its messages and its answer.

Decoding, identity, time, messages, one commit, the answer: what all networks have in common. The
messages are staged in the caller's transaction; the code that commits it sends the answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from habitat_like.http import scgi
from habitat_like.http.actions import Args, InsertApplication
from habitat_like.http.response import RETRY_AFTER, Response, TooSlow
from habitat_like.message.message import InvalidMessage, Message
from habitat_like.message_server import BacklogFull, MessageTooLarge
from habitat_like.networks.base import CAREFUL, STUBBORN, Network, Outcome
from habitat_like.networks.counts import Counts
from habitat_like.networks.messages import callsign_of, to_message
from habitat_like.networks.observation import (
    BadRequest,
    Decoded,
    Headers,
    Observation,
    Problem,
    Request,
)
from habitat_like.networks.stations import UNKNOWN, Gatekeeper, Stations
from habitat_like.networks.ways import Way
from habitat_like.steering.access import Denied, TooMany

log = logging.getLogger(__name__)

#: Seconds between two lines in the log about one network's problems.
LOG_EVERY = 60.0
#: Characters of a problem to keep and log.
MAX_TEXT = 300

# Why nothing of a request was taken, as counted.
CONTENT = "content"
WRONG_KEY = "wrong_key"
DENIED = "denied"
RATE = "rate"
OVERLOAD = "overload"
FAULT = "fault"


class WrongKeyError(Exception):
    """This client may not upload as this station; one line, with no secret in it."""


#: Errors that concern a single observation.
_OF_ONE = (
    *(WrongKeyError, Denied, TooMany, InvalidMessage, MessageTooLarge),
    *(ValueError, TypeError, OverflowError),
)


def _reason(error: Exception) -> str:
    """Why an observation was not taken, in one line."""
    if isinstance(error, _OF_ONE[:5]):
        return str(error)
    return f"can't be stored as JSON ({type(error).__name__})"


class Runner:
    """Runs one network. ``stations`` may be replaced at any time. Thread-safe."""

    def __init__(self, network: Network, stations: Stations, gatekeeper: Gatekeeper) -> None:
        self.network = network
        self.stations = stations
        self.counts = Counts()
        self._gatekeeper = gatekeeper
        self._serves = type(network).serve is not Network.serve
        # When the last line was logged, monotonic; two threads logging at once do no harm.
        self._logged = -LOG_EVERY

    # -- one request

    def run(self, way: Way, application: InsertApplication, ip: str | None, args: Args) -> Response:
        """Take a request that came by ``way``; returns its answer.

        Raises TooSlow for what would take too long on the gateway's thread, and what pushing a
        message raises if nothing of the request could be taken.
        """
        request = Request(
            args.method,
            args.path,
            way.route.pattern,
            way.variables(args.path) if way.has_variables else None,
            Headers(args.headers),
            args.body,
            ip,
            application.clock(),
        )
        network = self.network
        try:
            if way.probe is not None:
                self.counts.request()
                return way.probe(request)
            if self._serves:
                return self._serve(request, application)
            decoded = network.decode(request)
        except (BacklogFull, Denied, TooMany, TooSlow):
            raise
        except Exception as error:
            return self._failed(request, error)
        if decoded.observations:
            return self._take(request, args, application, decoded)
        if decoded.problems:
            return self._refuse(request, 400, decoded.problems[0].text, decoded.problems)
        self.counts.request()
        return network.success(request, Outcome([], []))

    def _serve(self, request: Request, application: InsertApplication) -> Response:
        """Let the network handle the whole request."""
        pushed: list[Message] = []

        def push(message: Message) -> None:
            application.server.push_message(message)
            pushed.append(message)

        def note(station: str | None, text: str) -> None:
            self.counts.problem(request.now, station, text[:MAX_TEXT])

        answer = self.network.serve(request, push, note)
        if pushed:
            self.counts.taken(pushed, request.now)
        else:
            self.counts.request()
        return answer

    def _take(
        self, request: Request, args: Args, application: InsertApplication, decoded: Decoded
    ) -> Response:
        """Stage the messages of what was decoded, where possible."""
        network = self.network
        push = application.server.push_message
        messages: list[Message] = []
        failures: list[tuple[int, Exception]] = []
        for one in decoded.observations:
            try:
                message = self._to_message(request, args, one)
                push(message)
                messages.append(message)
            except _OF_ONE as error:
                failures.append((len(messages) + len(failures), error))
        if failures or decoded.problems:
            return self._answer(request, messages, decoded.problems, failures)
        self.counts.taken(messages, request.now)
        return network.success(request, Outcome(messages, []))

    def _answer(
        self,
        request: Request,
        messages: list[Message],
        decoded: Sequence[Problem],
        failures: list[tuple[int, Exception]],
    ) -> Response:
        """The answer where not everything was taken: ``decoded`` are the decoder's problems.

        ``failures`` are by the observations' places. Raises Denied and TooMany if nothing was.
        """
        network = self.network
        problems = [*decoded, *(Problem(index, _reason(error)) for index, error in failures)]
        if messages:
            callsign = messages[-1].listener.callsign
            self.counts.taken(messages, request.now, len(problems))
            self._note(request, callsign, problems[0].text)
            answer = network.partial(request, Outcome(messages, problems))
            return answer if answer.status < 400 else answer._replace(partial=True)
        errors = [error for _, error in failures]
        for error in reversed(errors):
            if isinstance(error, Denied | TooMany):
                raise error
        if not decoded and all(isinstance(error, WrongKeyError) for error in errors):
            self._note(request, None, problems[0].text)
            self.counts.refused(WRONG_KEY, len(problems))
            return network.wrong_key(request)
        status = 413 if any(isinstance(error, MessageTooLarge) for error in errors) else 400
        return self._refuse(request, status, problems[0].text, problems)

    def _to_message(self, request: Request, args: Args, one: Observation) -> Message:
        """The message of an observation. Raises WrongKeyError, InvalidMessage and others."""
        network, stations = self.network, self.stations
        name = network.name
        station = stations.find(name, one.uploader) if name in stations.networks else None
        doubt = None
        if station is None:
            if network.settings.unknown != "accept":
                doubt = "the station is not in the stations file"
                if network.settings.unknown == "refuse":
                    raise WrongKeyError(doubt)
        elif station.secret is not None:
            if args.lane == "fast" and not self._gatekeeper.is_quick(station):
                raise TooSlow
            credential = network.credential(request)
            if not self._gatekeeper.is_right(station, credential, request.ip):
                raise WrongKeyError(f"wrong key of {station.callsign}")
        callsign = callsign_of(name, one, station, stations)
        if not callsign:
            if network.family != STUBBORN:
                raise InvalidMessage("nothing tells which station it is")
            callsign, doubt = UNKNOWN, "nothing tells which station it is"
        return to_message(name, one, callsign, station, request.ip, int(request.now), doubt)

    # -- when nothing is taken

    def _refuse(
        self, request: Request, status: int, text: str, problems: Sequence[Problem]
    ) -> Response:
        self._note(request, None, text)
        self.counts.refused(CONTENT, len(problems))
        return self.network.refused(request, status, text, Outcome([], list(problems)))

    def _failed(self, request: Request, error: Exception) -> Response:
        """Answer what can't be read; a bug in a decoder gets the same answer."""
        if isinstance(error, BadRequest):
            return self._refuse(request, error.status, error.text, [Problem(0, error.text)])
        log.error(
            "a network's decoder failed", extra={"network": self.network.name}, exc_info=error
        )
        self.counts.problem(request.now, None, "the decoder failed; the gateway's log says why")
        self.counts.refused(FAULT, 1)
        text = "this could not be read; the gateway's log says why"
        return self.network.refused(request, 400, text, Outcome([], [Problem(0, text)]))

    def _note(self, request: Request, station: str | None, text: str) -> None:
        """Keep the last problem, and log one a minute."""
        text = text[:MAX_TEXT]
        who = station or None
        self.counts.problem(request.now, who, text)
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            extra = {"network": self.network.name, "station": who, "ip": request.ip, "why": text}
            log.warning("a network's upload was not taken as a whole", extra=extra)

    def instead_of(self, refusal: Response, request: scgi.Request) -> Response:
        """The answer for this network's clients where others get the gateway's ``refusal``."""
        network = self.network
        status = refusal.status
        text = refusal.body.decode(errors="replace").strip()
        if status == 429 and network.family == CAREFUL:
            self.counts.refused(RATE)
            return refusal
        if status in (429, 500, 503) or 300 <= status < 400:
            self.counts.refused(RATE if status == 429 else OVERLOAD)
            headers = refusal.headers or {}
            return network.overload(text, int(headers.get("Retry-After", RETRY_AFTER)))
        if status == 403:
            self.counts.refused(DENIED)
            return network.denied(text)
        if status in (404, 405):
            return refusal
        self.counts.refused(CONTENT, 1)
        path = request.get(b"PATH_INFO") or request.get(b"DOCUMENT_URI")
        asked = Request(
            request.get(b"REQUEST_METHOD"),
            path,
            headers=Headers(request.headers),
            body=request.body,
            ip=request.get(b"REMOTE_ADDR"),
            now=time.time(),
        )
        self._note(asked, None, text)
        return network.refused(asked, status, text, Outcome([], []))

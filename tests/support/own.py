"""An operator's own module: tests put a copy of it beside a gateway's configuration.

An action that waits finds the name of a file in its query: it goes on when that file is there, and
says with files beside it (``.began``, ``.ended``) how far it is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.http import Args, InsertApplication, Response, action
from habitat_like.http.response import Refused
from habitat_like.journal.journal import Entry
from habitat_like.message.message import Listener, Message
from habitat_like.message_server import JournalSink, SimpleSink
from tests.support.wait import eventually

#: Seconds that no test takes.
FOREVER = 3600.0


class Fatal(BaseException):
    """What no ``except Exception`` holds up."""


# -- actions that say where they run, and with what


def lane(application: InsertApplication, ip: str, args: Args) -> str:
    return threading.current_thread().name


@action(lane="fast")
def lane_fast(application: InsertApplication, ip: str, args: Args) -> str:
    return threading.current_thread().name


@action(methods=("GET", "PUT"), subpaths=True)
def below(application: InsertApplication, ip: str, args: Args) -> str:
    return f"{args.method} {args.path} {args.query}"


@action(lane="fast")
def big(application: InsertApplication, ip: str, args: Args) -> bytes:
    return b"x" * 2_000_000


# -- actions that wait until the file that the query names is there


def mark(args: Args, step: str) -> None:
    Path(f"{args.query}.{step}").touch()


def wait(application: InsertApplication, ip: str, args: Args) -> None:
    mark(args, "began")
    eventually(Path(args.query).exists, timeout=FOREVER)


def wait_and_push(application: InsertApplication, ip: str, args: Args) -> None:
    wait(application, ip, args)
    application.message(ip, args)


def wait_and_push_all(application: InsertApplication, ip: str, args: Args) -> Any:
    wait(application, ip, args)
    return application.messages(ip, args)


def push_and_wait(application: InsertApplication, ip: str, args: Args) -> None:
    application.message(ip, args)
    wait_and_push(application, ip, args)
    mark(args, "ended")


# -- actions that push a message, and what then becomes of them


def push(application: InsertApplication, ip: str, args: Args) -> dict[str, int]:
    application.message(ip, args)
    return {"pushed": 1}


def push_and_fail(application: InsertApplication, ip: str, args: Args) -> None:
    application.message(ip, args)
    raise RuntimeError("a defect in an action")


@action(lane="fast")
def push_and_fail_fast(application: InsertApplication, ip: str, args: Args) -> None:
    push_and_fail(application, ip, args)


def push_and_refuse(application: InsertApplication, ip: str, args: Args) -> Response:
    application.message(ip, args)
    return Response(422, b"changed its mind")


# -- actions whose answers are none


def text_as_body(application: InsertApplication, ip: str, args: Args) -> Response:
    return Response(200, "text, not bytes")  # type: ignore[arg-type]


@action(lane="fast")
def text_as_body_fast(application: InsertApplication, ip: str, args: Args) -> Response:
    return text_as_body(application, ip, args)


def no_status(application: InsertApplication, ip: str, args: Args) -> Response:
    return Response(None, b"")  # type: ignore[arg-type]


def header_beyond_latin_1(application: InsertApplication, ip: str, args: Args) -> Response:
    return Response(200, b"", headers={"X-Price": "5 \u20ac"})


def refusal_beyond_latin_1(application: InsertApplication, ip: str, args: Args) -> None:
    raise Refused(400, "no", {"X-Price": "5 \u20ac"})


@action(lane="fast")
def refusal_without_status_fast(application: InsertApplication, ip: str, args: Args) -> None:
    raise Refused("no", "no")  # type: ignore[arg-type]


def not_json(application: InsertApplication, ip: str, args: Args) -> object:
    return object()


# -- actions that end their thread


def fall(application: InsertApplication, ip: str, args: Args) -> None:
    raise SystemExit("a slow action's end")


@action(lane="fast")
def fall_fast(application: InsertApplication, ip: str, args: Args) -> None:
    raise GeneratorExit("a fast action's end")


@action(lane="fast")
def fall_unknown(application: InsertApplication, ip: str, args: Args) -> None:
    raise Fatal("a fast action's end")


def fall_beside(application: InsertApplication, ip: str, args: Args) -> None:
    def run() -> None:
        raise RuntimeError("an own thread's end")

    threading.Thread(target=run, name="own thread").start()


# -- a type


class Weather(msgspec.Struct):
    number: int


# -- sinks


class Counting(SimpleSink):
    """Writes the number of each message into a file."""

    def message(self, message: Message) -> None:
        with Path("counted").open("a") as file:
            file.write(f"{message.data['number']}\n")


class Echo(SimpleSink):
    """Answers each message with another one, of the callsign ECHO."""

    def message(self, message: Message) -> None:
        if message.listener.callsign != "ECHO":
            data = {"number": message.data["number"] + 1}
            times = message.time_created, message.time_uploaded
            self.server.push_message(Message(Listener("ECHO"), "TELEM", *times, data))


class Falling(SimpleSink):
    def message(self, message: Message) -> None:
        raise SystemExit("a sink's end")


class FallingBatch(JournalSink):
    def process(self, entries: Sequence[Entry]) -> Sequence[Any]:
        raise Fatal("a sink's end")


class Quiet(SimpleSink):
    def message(self, message: Message) -> None:
        pass


class BadEnd(Quiet):
    def shutdown(self) -> None:
        raise RuntimeError("a sink that can't be closed")


class BadStop(Quiet):
    def stop(self) -> None:
        super().stop()
        raise RuntimeError("a sink that can't be stopped")


class BadStart(SimpleSink):
    def setup(self) -> None:
        raise RuntimeError("a sink that\ncan't be made")

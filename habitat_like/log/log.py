"""How it is logged: readable lines on a terminal, JSON lines elsewhere, never a request's body."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import threading
import time
from typing import Any, TextIO, cast

import msgspec

from habitat_like.config.keys import ConfigError, LogConfig
from habitat_like.log.writer import FileOutput, LogWriter, Output, Tally, stream_output

ROOT = "habitat_like"
#: Seconds that what is not written yet has at the end of a log.
FLUSH = 1.0
#: Bytes of one line; a longer one is not logged, but that there was one is.
MAX_LINE = 64 * 1024
#: What keeps a file from being opened that may go by itself.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LAST_RESORT = logging.lastResort
_TALLY = Tally()
_printed = logging.getLogger(f"{ROOT}.printed")
_handler: LogHandler | None = None


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, and the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            line = msgspec.json.encode(entry, enc_hook=str).decode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate, out of somebody's file or request
            line = ""
        # All that could steer a terminal is written as an escape.
        return line if line and line.isprintable() else json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """One readable line: local time, level, message, extras as key=value.

    What could end the line or steer a terminal is written as an escape.
    """

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it where there is one."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname.lower():7}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        extras = "".join(f" {key}={_word(value)}" for key, value in _extras(record).items())
        message = record.getMessage()
        if not message.isprintable():
            message = json.dumps(message)
        line = f"{stamp} {level} {message}{extras}"
        if record.exc_info:
            # Indented, so that no text in it passes for a line of the log.
            for below in self.formatException(record.exc_info).splitlines():
                line += "\n  " + (below if below.isprintable() else json.dumps(below))
        return line


class LogHandler(logging.Handler):
    """Hands each record to the writer as a line. Never raises, never waits for long."""

    def __init__(self, output: Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LogWriter(output, _TALLY, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Have it written, or a line that says why it can't be."""
        try:
            line = self._line(record)
            if len(line) > MAX_LINE:
                why = f"it has {len(line)} bytes, over the limit of {MAX_LINE}"
                line = self._stand_in(record, why)
        except Exception as error:  # an extra whose text can't be had, arguments that don't fit
            try:
                line = self._stand_in(record, f"{type(error).__name__}: {error}")
            except Exception:
                _TALLY.add()
                return
        self.writer.put(line)

    def flush(self) -> None:
        """Wait a moment for what is not written yet."""
        self.writer.flush(FLUSH)

    def close(self) -> None:
        """Write what waits, for a moment, and end the thread."""
        self.writer.close(FLUSH)
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _stand_in(self, record: logging.LogRecord, why: str) -> bytes:
        _TALLY.add()
        extra = {"why": why[: MAX_LINE // 16], "source": record.name, "lines": 1}
        return self._line(_record(record.levelno, "a line of the log could not be made", extra))

    def _notice(self, lines: int, why: str) -> bytes:
        extra = {"lines": lines, "why": why}
        return self._line(_record(logging.ERROR, "lines of the log are missing", extra))


class State(msgspec.Struct, frozen=True):
    """How the log is: ``lost`` lines since the start, and the ``problem`` there is now."""

    lost: int
    problem: str | None


def configure(config: LogConfig) -> None:
    """Log as ``config`` says, in place of what was configured before, until ``close``.

    Raises ConfigError for a file that can't be had. One that can't be had at present (a full disk)
    is tried again with each line, and what isn't logged meanwhile is counted. For one thread.
    """
    global _handler  # noqa: PLW0603 (a process has one log)
    stream = sys.stderr.behind if isinstance(sys.stderr, Printed) else sys.stderr
    output: Output
    if config.file:
        output = file = FileOutput(config.file)
        try:
            file.open()
        except OSError as error:
            if error.errno not in _PASSING:
                raise ConfigError(f"log.file {config.file}: {error.strerror}") from None
    else:
        output = stream_output(None if sys.__stderr__ is None else stream)
    terminal = not config.file and stream is not None and stream.isatty()
    text = config.format == "text" or (config.format == "auto" and terminal)
    new = LogHandler(output, TextFormatter(terminal) if text else JsonFormatter())
    new.writer.start()
    _attach(new)
    logging.getLogger(ROOT).setLevel(config.level.upper())
    if _handler is not None:
        _handler.close()
    _handler = new


def capture() -> None:
    """Make lines of the log of what would go to standard output and error, until ``close``.

    That is what an operator's own code prints, and what Python has to say: warnings, and exceptions
    in places from which they go nowhere. A pipe that nobody reads would keep who prints waiting.
    """
    sys.stdout = cast("TextIO", Printed(sys.stdout))
    sys.stderr = cast("TextIO", Printed(sys.stderr))
    logging.captureWarnings(True)
    sys.unraisablehook = _unraisable


def close() -> None:
    """End what ``configure`` and ``capture`` began; what waits is written, for FLUSH seconds."""
    global _handler  # noqa: PLW0603
    if isinstance(sys.stdout, Printed):
        sys.stdout = sys.stdout.behind
    if isinstance(sys.stderr, Printed):
        sys.stderr = sys.stderr.behind
        logging.captureWarnings(False)
        sys.unraisablehook = sys.__unraisablehook__
    if _handler is not None:
        _attach(None)
        _handler.close()
        _handler = None


def _attach(handler: LogHandler | None) -> None:
    """Have all that is logged in this process go to ``handler``, None: where it went before."""
    for name in (ROOT, "py.warnings"):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        if handler is not None:
            logger.addHandler(handler)
        logger.propagate = handler is None
    # In place of Python's own, which writes to standard error whatever becomes of that.
    logging.lastResort = handler or _LAST_RESORT


def handler() -> logging.Handler:
    """The handler that ``configure`` made. Raises RuntimeError where there is none."""
    if _handler is None:
        raise RuntimeError("no log is configured")
    return _handler


def state() -> State:
    """How the log is. Thread-safe."""
    now = _handler
    return State(_TALLY.lines, now.writer.problem if now is not None else None)


def say(line: str) -> None:
    """Write a last line to standard error, if it takes one. For when there is no log."""
    writer = LogWriter(stream_output(sys.stderr), _TALLY, lambda lines, why: b"")
    writer.start()
    writer.put(f"{line}\n".encode("utf-8", "backslashreplace"))
    writer.close(FLUSH)


class Printed(io.TextIOBase):
    """A stream whose lines become lines of the log; ``behind`` is what it stands in for.

    Thread-safe.
    """

    def __init__(self, behind: TextIO | Any) -> None:
        self.behind = behind
        # Guards _begun, the line that is not at its end yet.
        self._lock = threading.Lock()
        self._begun = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that ``text`` completes; as long as there is no log, pass it on."""
        if _handler is None:
            return int(self.behind.write(text))
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            if len(self._begun) > MAX_LINE // 2:
                lines.append(self._begun)
                self._begun = ""
        for line in lines:
            if line.strip():
                _printed.warning("%s", line)
        return len(text)


def _unraisable(event: Any) -> None:
    """Log what Python would print: an exception in a destructor, or in a callback from C."""
    message = event.err_msg or "exception ignored"
    info = (event.exc_type, event.exc_value, event.exc_traceback)
    _printed.error("%s", message, exc_info=info)


def _record(level: int, message: str, extra: dict[str, Any]) -> logging.LogRecord:
    return _printed.makeRecord(__name__, level, "", 0, message, (), None, extra=extra)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _word(value: Any) -> str:
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)  # no line breaks, nothing that steers a terminal
    return f'"{text}"' if " " in text or not text else text

"""Log formats: readable lines on a terminal, JSON lines elsewhere, never a request's body."""

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
#: Seconds allowed for writing what is left when a log ends.
FLUSH = 1.0
#: Maximum bytes of one line; a longer one is not logged, only the fact that there was one.
MAX_LINE = 64 * 1024
#: Errors in opening a file that may pass by themselves.
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
        except UnicodeEncodeError:  # a lone surrogate from a file or request
            line = ""
        # Anything that could control a terminal is escaped.
        return line if line and line.isprintable() else json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """One readable line: local time, level, message, extras as key=value.

    Anything that could end the line or control a terminal is escaped.
    """

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback if there is one."""
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
            # Indented, so that no text in it looks like a log line.
            for below in self.formatException(record.exc_info).splitlines():
                line += "\n  " + (below if below.isprintable() else json.dumps(below))
        return line


class LogHandler(logging.Handler):
    """Passes each record to the writer as a line. Never raises, never waits for long."""

    def __init__(self, output: Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LogWriter(output, _TALLY, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or a line saying why it can't be written."""
        try:
            line = self._line(record)
            if len(line) > MAX_LINE:
                why = f"it has {len(line)} bytes, over the limit of {MAX_LINE}"
                line = self._stand_in(record, why)
        except Exception as error:  # an extra with a failing str(), arguments that don't fit
            try:
                line = self._stand_in(record, f"{type(error).__name__}: {error}")
            except Exception:
                _TALLY.add()
                return
        self.writer.put(line)

    def flush(self) -> None:
        """Wait briefly for pending lines."""
        self.writer.flush(FLUSH)

    def close(self) -> None:
        """Write pending lines, briefly, and end the thread."""
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
    """The log's health: ``lost`` lines since the start, and the current ``problem``."""

    lost: int
    problem: str | None


def configure(config: LogConfig) -> None:
    """Log as ``config`` says, replacing the previous configuration, until ``close``.

    Raises ConfigError for a file that can't be opened. One that can't be opened for now (a full
    disk) is retried with each line, and lines lost meanwhile are counted. For one thread.
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
    """Redirect standard output and error to the log, until ``close``.

    That covers what an operator's own code prints, and Python's own output: warnings, and
    exceptions that can't propagate. A pipe that nobody reads would block whoever prints.
    """
    sys.stdout = cast("TextIO", Printed(sys.stdout))
    sys.stderr = cast("TextIO", Printed(sys.stderr))
    logging.captureWarnings(True)
    sys.unraisablehook = _unraisable


def close() -> None:
    """Undo ``configure`` and ``capture``; pending lines get FLUSH seconds to be written."""
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
    """Send this process's log to ``handler``; None: where it went before."""
    for name in (ROOT, "py.warnings"):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        if handler is not None:
            logger.addHandler(handler)
        logger.propagate = handler is None
    # Replaces Python's own, which writes to standard error whatever happens to that.
    logging.lastResort = handler or _LAST_RESORT


def handler() -> logging.Handler:
    """The handler that ``configure`` made. Raises RuntimeError if there is none."""
    if _handler is None:
        raise RuntimeError("no log is configured")
    return _handler


def state() -> State:
    """The log's health. Thread-safe."""
    now = _handler
    return State(_TALLY.lines, now.writer.problem if now is not None else None)


def say(line: str) -> None:
    """Write a last line to standard error, if possible. For when there is no log."""
    writer = LogWriter(stream_output(sys.stderr), _TALLY, lambda lines, why: b"")
    writer.start()
    writer.put(f"{line}\n".encode("utf-8", "backslashreplace"))
    writer.close(FLUSH)


class Printed(io.TextIOBase):
    """A stream whose lines go to the log; ``behind`` is the stream it replaces.

    Thread-safe.
    """

    def __init__(self, behind: TextIO | Any) -> None:
        self.behind = behind
        # Guards _begun, the unfinished line.
        self._lock = threading.Lock()
        self._begun = ""

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that ``text`` completes; while there is no log, pass it on."""
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
        return json.dumps(text)  # no line breaks, no terminal controls
    return f'"{text}"' if " " in text or not text else text

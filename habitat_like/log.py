"""How it is logged: readable lines on a terminal, JSON lines elsewhere, never a request's body."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from habitat_like.config.keys import ConfigError, LogConfig
from habitat_like.disk import DIRECTORY_MODE, make_file

ROOT = "habitat_like"
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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


def configure(config: LogConfig) -> None:
    """Log as ``config`` says, in place of what was configured before. Raises ConfigError."""
    handler: logging.Handler
    if config.file:
        try:
            Path(config.file).parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
            handler = _File(config.file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigError(f"log.file {config.file}: {error.strerror}") from None
    else:
        handler = logging.StreamHandler()
    terminal = not config.file and sys.stderr.isatty()
    text = config.format == "text" or (config.format == "auto" and terminal)
    handler.setFormatter(TextFormatter(terminal) if text else JsonFormatter())
    root = logging.getLogger(ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.propagate = False
    root.setLevel(config.level.upper())


class _File(logging.handlers.WatchedFileHandler):
    """A file that is opened anew after logrotate has moved it away."""

    def _open(self) -> Any:
        make_file(self.baseFilename)
        return super()._open()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _word(value: Any) -> str:
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)  # no line breaks, nothing that steers a terminal
    return f'"{text}"' if " " in text or not text else text

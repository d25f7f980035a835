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

from habitat_like.config import ConfigError, LogConfig

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
            return msgspec.json.encode(entry, enc_hook=str).decode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate, out of somebody's file or request
            return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """One readable line: local time, level, message, extras as key=value."""

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
        line = f"{stamp} {level} {record.getMessage()}{extras}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(config: LogConfig) -> None:
    """Log as ``config`` says, in place of what was configured before. Raises ConfigError."""
    handler: logging.Handler
    if config.file:
        try:
            Path(config.file).parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            # Opens the file anew after logrotate has moved it away.
            handler = logging.handlers.WatchedFileHandler(
                config.file, encoding="utf-8", errors="backslashreplace"
            )
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


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _word(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text

"""The schema: every key of the configuration, its type and its default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

#: Threads, or things that are held in memory at once.
SmallCount = Annotated[int, msgspec.Meta(ge=1, le=65536)]

#: Durations in seconds; three years are longer than anything here lasts, and no infinity.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=100_000_000)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ConfigError(Exception):
    """The configuration can't be used; the text is one line: where, what is wrong, what to do."""


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``gateway``."""

    socket: Text = "run/habitat.sock"
    socket_mode: str = "0660"
    socket_group: str | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    max_batch: SmallCount = 256
    timeout: Seconds = 10
    max_connections: Count = 1024
    max_headers: Count = 65536
    max_body: Count = 1048576
    shutdown_timeout: Seconds = 10
    machine_code: Text = msgspec.field(default_factory=lambda: os.uname().nodename)
    actions: tuple[Text, ...] = ("message", "messages")


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``journal``."""

    path: Text = "var/journal.sqlite"
    sync: Literal["full", "normal"] = "full"
    max_backlog: Count = 1_000_000
    retention: Annotated[float, msgspec.Meta(ge=0, le=10_000_000_000)] = 86400


class ArchiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``archive``."""

    uri: Text = "sqlite:var/archive.sqlite"
    password_file: str | None = None
    batch: SmallCount = 500
    timeout: Seconds = 30
    retry_min: Seconds = 0.5
    retry_max: Seconds = 60


#: As message.Listener takes it.
Callsign = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9/_-]{1,64}\Z")]

#: Messages a minute.
Rate = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class AccessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``access``. ``allow`` and ``deny`` are networks; rates are messages a minute."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    blocked_callsigns: tuple[Callsign, ...] = ()
    rate_per_address: Rate | None = None
    rate_per_callsign: Rate | None = None
    rate_burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``control``."""

    socket: Text = "run/control.sock"
    socket_mode: str = "0600"


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``log``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    file: str | None = None


class ConsoleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``console``."""

    password_file: Text | None = None
    trust_proxy_auth: bool = False
    session_lifetime: Seconds = 28800

    @property
    def is_on(self) -> bool:
        """Whether there is a console: only where its users can be told from others."""
        return self.password_file is not None or self.trust_proxy_auth


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration. ``types`` maps a message type to a dotted path (docs/extending).

    ``networks`` maps the name of a network that is on to its settings, a Struct of its own.
    """

    gateway: GatewayConfig = GatewayConfig()
    journal: JournalConfig = JournalConfig()
    archive: ArchiveConfig = ArchiveConfig()
    access: AccessConfig = AccessConfig()
    console: ConsoleConfig = ConsoleConfig()
    control: ControlConfig = ControlConfig()
    log: LogConfig = LogConfig()
    sinks: tuple[Text, ...] = ("habitat_like.archive.ArchiveSink",)
    types: dict[str, Text] = {}
    stations: Text | None = None
    networks: dict[str, Any] = {}


def keys() -> Iterator[tuple[str, Any]]:
    """Every configuration key, dotted, with its default."""
    for section in msgspec.structs.fields(Config):
        default = section.default if section.default is not msgspec.NODEFAULT else {}
        if isinstance(default, msgspec.Struct):
            for field in msgspec.structs.fields(default):
                yield f"{section.name}.{field.name}", getattr(default, field.name)
        else:
            yield section.name, default


def socket_mode(text: str) -> int:
    """The permission bits of a key ``socket_mode``. Raises ValueError."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f'{text!r} is not a mode such as "0660" (three octal digits, quoted)')
    return int(text, 8)

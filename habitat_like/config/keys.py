"""The schema: every key of the configuration, its type and its default."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

#: Threads, or objects held in memory at once.
SmallCount = Annotated[int, msgspec.Meta(ge=1, le=65536)]

#: Durations in seconds; three years exceed any duration here, and rule out infinity.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=100_000_000)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


#: What a reload applies; every other key needs a restart.
Reloadable = msgspec.Meta(extra={"reloadable": True})


class ConfigError(Exception):
    """The configuration can't be used; the text is one line: where, which key, what to do.

    ``key`` is dotted, with an index in a list; ``where`` is what holds it: a file, or a variable of
    the environment. Either may be empty.
    """

    def __init__(self, reason: str, key: str = "", where: str = "") -> None:
        super().__init__(": ".join(part for part in (where, key, reason) if part))
        self.reason = reason
        self.key = key
        self.where = where

    def at(self, where: str) -> ConfigError:
        """The same error with its location added, unless it has one."""
        return self if self.where else ConfigError(self.reason, self.key, where)


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``gateway``."""

    socket: Text = "run/habitat.sock"
    socket_mode: str = "0660"
    socket_group: str | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    max_batch: SmallCount = 256
    timeout: Seconds = 10
    max_connections: Annotated[Count, Reloadable] = 1024
    max_headers: Annotated[Count, Reloadable] = 65536
    max_body: Annotated[Count, Reloadable] = 1048576
    max_message: Annotated[Count, Reloadable] = 262144
    max_waiting: Annotated[Count, Reloadable] = 67108864
    shutdown_timeout: Seconds = 10
    machine_code: Text = msgspec.field(default_factory=lambda: os.uname().nodename)
    actions: tuple[Text, ...] = ("message", "messages")


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``journal``."""

    path: Text = "var/journal.sqlite"
    sync: Literal["full", "normal"] = "full"
    max_backlog: Annotated[Count, Reloadable] = 1_000_000
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**60), Reloadable] = 4 * 1024**3
    retention: Annotated[float, msgspec.Meta(ge=0, le=10_000_000_000), Reloadable] = 86400


#: The views that a CouchDB database can have, see docs/configuration.md.
View = Literal["hours", "last_heard", "receptions"]


class ArchiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``archive``."""

    uri: Text = "sqlite:var/archive.sqlite"
    password_file: str | None = None
    batch: SmallCount = 500
    timeout: Seconds = 30
    retry_min: Seconds = 0.5
    retry_max: Seconds = 60
    views: tuple[View, ...] = ()
    keep: Annotated[int, msgspec.Meta(ge=1, le=36500)] | None = None
    verify: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


#: The sink that keeps messages for good.
ARCHIVE_SINK = "habitat_like.archive.ArchiveSink"
#: The sink that says what received packets contain.
PARSER_SINK = "habitat_like.telemetry.ParserSink"

#: As message.Listener takes it.
Callsign = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9/_-]{1,64}\Z")]

#: Messages a minute.
Rate = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class AccessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``access``. ``allow`` and ``deny`` are networks; rates are messages a minute."""

    allow: Annotated[tuple[str, ...], Reloadable] = ()
    deny: Annotated[tuple[str, ...], Reloadable] = ()
    blocked_callsigns: Annotated[tuple[Callsign, ...], Reloadable] = ()
    rate_per_address: Annotated[Rate | None, Reloadable] = None
    rate_per_callsign: Annotated[Rate | None, Reloadable] = None
    rate_burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000), Reloadable] = 100


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``control``."""

    socket: Text = "run/control.sock"
    socket_mode: str = "0600"


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``log``."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Reloadable] = "info"
    format: Annotated[Literal["auto", "text", "json"], Reloadable] = "auto"
    file: Annotated[str | None, Reloadable] = None


class ConsoleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``console``."""

    password_file: Text | None = None
    trust_proxy_auth: bool = False
    session_lifetime: Seconds = 28800
    tiles: Text | None = None
    tiles_attribution: Text | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is a console: only if its users can be told from others."""
        return self.password_file is not None or self.trust_proxy_auth


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sink under ``sinks``: the dotted ``path`` of its class, and its ``settings``.

    ``name`` is its own; its cursor, dead letters and metrics go by it.
    """

    path: Text
    name: Text
    settings: dict[str, Any] = {}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration. ``types`` maps a message type to a dotted path (docs/extending).

    ``networks`` maps the name of each network that is on to its settings.
    """

    gateway: GatewayConfig = GatewayConfig()
    journal: JournalConfig = JournalConfig()
    archive: ArchiveConfig = ArchiveConfig()
    access: AccessConfig = AccessConfig()
    console: ConsoleConfig = ConsoleConfig()
    control: ControlConfig = ControlConfig()
    log: LogConfig = LogConfig()
    sinks: Annotated[tuple[SinkConfig, ...], Reloadable] = tuple(
        SinkConfig(path, path) for path in (ARCHIVE_SINK, PARSER_SINK)
    )
    types: Annotated[dict[str, Text], Reloadable] = {}
    stations: Annotated[Text | None, Reloadable] = None
    networks: Annotated[dict[str, dict[str, Any] | None], Reloadable] = {}

    @property
    def sink_names(self) -> list[str]:
        """The names of the sinks, in the configuration's order."""
        return [sink.name for sink in self.sinks]


class Key(NamedTuple):
    """What is known of a key: its dotted ``name``, its ``default``, and what its field says.

    ``is_list``: it holds several values, in a list or a mapping; ``choices`` are the values of a
    key that has but a few.
    """

    name: str
    default: Any
    reloadable: bool
    is_list: bool
    choices: tuple[str, ...]


@functools.cache
def facts() -> dict[str, Key]:
    """Every key by its dotted name."""
    found = {}
    for section, hint in get_type_hints(Config, include_extras=True).items():
        default = getattr(Config(), section)
        if isinstance(default, msgspec.Struct):
            for name, below in get_type_hints(hint, include_extras=True).items():
                key = f"{section}.{name}"
                found[key] = _key(key, getattr(default, name), below)
        else:
            found[section] = _key(section, default, hint)
    return found


def _key(name: str, default: Any, hint: Any) -> Key:
    extra: dict[str, Any] = {}
    while get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        for meta in metas:
            extra |= (isinstance(meta, msgspec.Meta) and meta.extra) or {}
    kind = get_origin(hint)
    return Key(
        name,
        default,
        "reloadable" in extra,
        kind in (tuple, dict),
        get_args(hint) if kind is Literal else (),
    )


def keys() -> Iterator[tuple[str, Any]]:
    """Every configuration key, dotted, with its default."""
    for key in facts().values():
        yield key.name, key.default


def socket_mode(text: str) -> int:
    """The permission bits of a key ``socket_mode``. Raises ValueError."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f'{text!r} is not a mode such as "0660" (three octal digits, quoted)')
    return int(text, 8)

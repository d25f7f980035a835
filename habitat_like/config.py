"""The typed configuration: the one place that knows the keys, their defaults and their meaning."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints
from urllib.parse import unquote, urlsplit

import msgspec
import yaml

from habitat_like.addresses import Networks

DEFAULT_PATH = "/etc/habitat/config.yml"
ENVIRONMENT_PREFIX = "HABITAT_"
#: HABITAT_ variables that are not configuration keys.
ENVIRONMENT_OTHERS = frozenset({"HABITAT_CONFIG"})

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


class HisparcConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys under ``hisparc``."""

    station_list: Text | None = None
    minimum_year: Annotated[int, msgspec.Meta(ge=1980, le=9999)] = 2020


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
    """The whole configuration. ``types`` maps a message type to a dotted path (docs/extending)."""

    gateway: GatewayConfig = GatewayConfig()
    journal: JournalConfig = JournalConfig()
    archive: ArchiveConfig = ArchiveConfig()
    hisparc: HisparcConfig = HisparcConfig()
    access: AccessConfig = AccessConfig()
    console: ConsoleConfig = ConsoleConfig()
    control: ControlConfig = ControlConfig()
    log: LogConfig = LogConfig()
    sinks: tuple[Text, ...] = ("habitat_like.archive.ArchiveSink",)
    types: dict[str, Text] = {}


class ArchiveUri(msgspec.Struct, frozen=True):
    """The parts of ``archive.uri``.

    ``scheme`` is sqlite, couchdb or couchdbs; ``path`` the file or the database's name; ``netloc``
    host and port without credentials; ``user`` and ``password`` decoded, None when absent.
    """

    scheme: str
    path: str
    netloc: str = ""
    user: str | None = None
    password: str | None = None


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file, put the environment's overrides on top, check it all.

    ``path`` is the file; None takes ``$HABITAT_CONFIG`` or, where neither is given, the default
    path if that exists and the built-in defaults if not. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    source = find(path, environ)
    tree: dict[str, Any] = _read(source) if source else {}
    where = str(source or DEFAULT_PATH)
    _check_names(tree, where)
    for key, variable in environment_keys().items():
        if variable in environ:
            _put(tree, key, _from_environment(key, environ[variable], variable))
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, where, environ)) from None
    try:
        _check(config)
    except ConfigError as error:
        key = str(error).partition(":")[0]
        raise ConfigError(f"{_origin(key, where, environ)}: {error}") from None
    return config


def find(path: str | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The file that ``load`` reads; None where it takes the built-in defaults."""
    environ = os.environ if environ is None else environ
    named = path or environ.get("HABITAT_CONFIG")
    if named:
        return Path(named)
    default = Path(DEFAULT_PATH)
    return default if default.exists() else None


def make_importable(path: str | None) -> None:
    """Let dotted paths lead to modules that lie beside the file that ``load(path)`` reads."""
    source = find(path)
    if source is not None and str(source.resolve().parent) not in sys.path:
        sys.path.append(str(source.resolve().parent))


def keys() -> Iterator[tuple[str, Any]]:
    """Every configuration key, dotted, with its default."""
    for section in msgspec.structs.fields(Config):
        default = section.default if section.default is not msgspec.NODEFAULT else {}
        if isinstance(default, msgspec.Struct):
            for field in msgspec.structs.fields(default):
                yield f"{section.name}.{field.name}", getattr(default, field.name)
        else:
            yield section.name, default


def environment_keys() -> dict[str, str]:
    """The environment variable that overrides each configuration key."""
    return {key: ENVIRONMENT_PREFIX + key.replace(".", "_").upper() for key, _ in keys()}


def unknown_environment(environ: Mapping[str, str]) -> list[str]:
    """One line for each HABITAT_ variable that overrides nothing, with the nearest right name."""
    known = set(environment_keys().values()) | ENVIRONMENT_OTHERS
    return [
        f"environment variable {name} overrides no key{_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


def socket_mode(text: str) -> int:
    """The permission bits of a key ``socket_mode``. Raises ValueError."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f'{text!r} is not a mode such as "0660" (three octal digits, quoted)')
    return int(text, 8)


def archive_uri(config: ArchiveConfig) -> ArchiveUri:
    """Take ``archive.uri`` apart and read the password from ``archive.password_file``.

    Raises ConfigError.
    """
    uri = config.uri
    scheme, colon, rest = uri.partition(":")
    if scheme == "sqlite" and rest.startswith("//") and not rest.startswith("///"):
        raise ConfigError("archive.uri: write sqlite:PATH, without // before the path")
    if scheme == "sqlite" and colon and rest:
        return ArchiveUri(scheme, rest)
    if scheme not in ("couchdb", "couchdbs") or not rest.startswith("//"):
        raise ConfigError(
            f"archive.uri: {mask(uri)!r} is neither sqlite:PATH nor couchdb://user@host:5984/database"
        )
    _, *behind_host = re.split(r"[/?#]", rest[2:], maxsplit=1)
    if behind_host and "@" in behind_host[0]:
        # What follows may be half of a password, so it isn't shown.
        raise ConfigError(
            "archive.uri: in the user or the password write / ? # as %2F %3F %23,"
            " or put the password into archive.password_file"
        )
    try:
        parts = urlsplit(uri)
    except ValueError:
        # Its text may have a part of the password in it.
        raise ConfigError(
            "archive.uri: can't be read as an address; in the user or the password write [ ] and"
            " all that is not ASCII as %XX, or put the password into archive.password_file"
        ) from None
    try:
        port = parts.port
    except ValueError:
        raise ConfigError("archive.uri: the port must be a number from 1 to 65535") from None
    if parts.query or parts.fragment:
        raise ConfigError("archive.uri: nothing can follow the database's name, no ? and no #")
    database = unquote(parts.path).strip("/")
    if not re.fullmatch(r"[a-z][a-z0-9_$()+/-]*", database):
        raise ConfigError(
            f"archive.uri: {database!r} is no CouchDB database name"
            " (a-z first, then a-z 0-9 _ $ ( ) + - /)"
        )
    if not parts.hostname:
        raise ConfigError(f"archive.uri: {mask(uri)!r} names no host")
    default_port = 6984 if scheme == "couchdbs" else 5984
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    password = unquote(parts.password) if parts.password is not None else None
    if config.password_file is not None:
        try:
            password = Path(config.password_file).read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"archive.password_file: {error}") from None
    user = unquote(parts.username) if parts.username else None
    if password is not None and user is None:
        raise ConfigError("archive.uri: there is a password but no user; write couchdb://user@host")
    return ArchiveUri(scheme, database, f"{host}:{port or default_port}", user, password)


def disk_places(config: Config) -> dict[str, Path]:
    """The directories that grow with what comes in: the journal's, and an embedded archive's."""
    places = {"journal": Path(config.journal.path).resolve().parent}
    scheme, _, path = config.archive.uri.partition(":")
    if scheme == "sqlite":
        places["archive"] = Path(path).resolve().parent
    return places


def mask(uri: str) -> str:
    """``uri`` with the password, if there is one, written as ***.

    Of what is no address, nothing before the last @ is shown: it may be half of a password.
    """
    head, at, tail = uri.rpartition("@")
    if not at or uri.startswith("sqlite:"):
        return uri
    scheme, slashes, credentials = head.partition("//")
    if not slashes:
        return f"***@{tail}"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}//{user}:***@{tail}" if colon else uri


def effective(config: Config) -> dict[str, Any]:
    """The configuration as plain data, with secrets masked, for people to read."""
    tree = cast("dict[str, Any]", msgspec.to_builtins(config))
    tree["archive"]["uri"] = mask(tree["archive"]["uri"])
    return tree


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice instead of taking the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises yaml.YAMLError for a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _integer(loader: _Loader, node: Any) -> int | str:
    """Keep 0660 as text: YAML 1.1 would make it a decimal, and it can only mean a mode here."""
    if re.fullmatch(r"0[0-7]{3}", node.value):
        return str(node.value)
    return loader.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another file with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506 (derived from the safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: {problem}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: can't be read as YAML ({error})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'gateway:', got {_kind(tree)}")
    for section in {key.partition(".")[0] for key, _ in keys() if "." in key}:
        if section in tree and tree[section] is None:
            tree[section] = {}
    return tree


def _check_names(tree: dict[Any, Any], where: str) -> None:
    """Refuse an unknown key with the nearest right name."""
    known = [key for key, _ in keys()]
    sections = {key.partition(".")[0] for key in known}
    for section, value in tree.items():
        if section in known and "." in str(section):
            group, _, name = str(section).partition(".")
            raise ConfigError(f"{where}: {section!r} is written as '{name}:' below '{group}:'")
        if section not in sections:
            near = _nearest(str(section), [*sections, *known])
            raise ConfigError(f"{where}: unknown key {section!r}{near}")
        if section == "types" or not isinstance(value, dict):
            continue
        for name in value:
            if f"{section}.{name}" not in known:
                near = _nearest(f"{section}.{name}", known)
                raise ConfigError(f"{where}: unknown key '{section}.{name}'{near}")
        if isinstance(value.get("socket_mode"), int):
            text = 'put the mode in quotes, as in "0660"'
            raise ConfigError(f"{where}: {section}.socket_mode: {text}")


def _check(config: Config) -> None:
    """The checks that no type can express. Raises ConfigError, the key first."""
    for section, sockets in (("gateway", config.gateway), ("control", config.control)):
        try:
            socket_mode(sockets.socket_mode)
        except ValueError as error:
            raise ConfigError(f"{section}.socket_mode: {error}") from None
        if len(os.fsencode(sockets.socket)) > 107:
            # sizeof(sun_path) less the final NUL, see unix(7).
            raise ConfigError(f"{section}.socket: a UNIX socket's path has at most 107 bytes")
    if Path(config.control.socket).absolute() == Path(config.gateway.socket).absolute():
        raise ConfigError("control.socket: this is gateway.socket; choose another path")
    for name in ("allow", "deny"):
        for text in getattr(config.access, name):
            try:
                Networks([text])
            except ValueError as error:
                hint = "write 192.0.2.0/24, 2001:db8::/32 or one address"
                raise ConfigError(f"access.{name}: {error}; {hint}") from None
    if config.archive.retry_min > config.archive.retry_max:
        raise ConfigError("archive.retry_min: larger than archive.retry_max")
    if len(set(config.sinks)) != len(config.sinks):
        raise ConfigError("sinks: a sink stands twice")
    try:
        scheme_only = msgspec.structs.replace(config.archive, password_file=None)
        archive_uri(scheme_only)
    except ConfigError as error:
        if "password but no user" not in str(error):
            raise


_LISTS = frozenset(
    {
        "sinks",
        "types",
        "gateway.actions",
        "access.allow",
        "access.deny",
        "access.blocked_callsigns",
    }
)


def _from_environment(key: str, text: str, variable: str) -> Any:
    if key in _LISTS:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"{variable}: not a YAML list or a comma-separated one") from None
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        if value is None:
            return {} if key == "types" else []
        return value
    optional = {name for name, default in keys() if default is None}
    return None if key in optional and text == "" else text


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if not name:
        tree[section] = value
    else:
        below = tree.get(section)
        tree[section] = {**below, name: value} if isinstance(below, dict) else {name: value}


def _explain(error: msgspec.ValidationError, where: str, environ: Mapping[str, str]) -> str:
    """msgspec's message as ``file: key: what is wrong``."""
    reason, _, path = str(error).replace("at `key` in ", "at ").partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    name = key.partition("[")[0]
    where = _origin(name, where, environ)
    reason = reason.replace("`", "")
    if choices := _choices(name):
        reason += f"; one of {', '.join(choices)}"
    return f"{where}: {key}: {reason}" if key else f"{where}: {reason}"


def _origin(key: str, where: str, environ: Mapping[str, str]) -> str:
    """What set ``key``: the environment variable that overrides it, or the file ``where``."""
    variable = environment_keys().get(key, "")
    return f"environment variable {variable}" if variable in environ else where


def _choices(key: str) -> tuple[str, ...]:
    """The values of a key that has but a few."""
    section, _, name = key.partition(".")
    if not name:
        return ()
    hint = get_type_hints(get_type_hints(Config)[section]).get(name)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like ``name``, of dotted ones by their last part."""
    by_part: dict[str, str] = {}
    for one in sorted(known, key=lambda one: not one.startswith(name.partition(".")[0] + ".")):
        by_part.setdefault(one.rpartition(".")[2].lower(), one)
    part = name.rpartition(".")[2].lower()
    import difflib  # noqa: PLC0415 (slow to import, and needed for mistakes alone)

    near = difflib.get_close_matches(part, by_part, n=1, cutoff=0.6)
    return f"; did you mean {by_part[near[0]]!r}?" if near else ""


def _kind(value: Any) -> str:
    return {str: "text", list: "a list", int: "a number"}.get(type(value), type(value).__name__)

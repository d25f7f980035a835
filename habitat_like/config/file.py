"""The configuration file, and the environment on top of it: read, and checked."""

from __future__ import annotations

import itertools
import os
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from habitat_like.config import hints
from habitat_like.config.addresses import IpNetworks
from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import (
    Config,
    ConfigError,
    ConsoleConfig,
    SinkConfig,
    facts,
    keys,
    socket_mode,
)
from habitat_like.config.settings import explain, join, nearest
from habitat_like.config.tiles import host_of

DEFAULT_PATH = "/etc/habitat/config.yml"
ENVIRONMENT_PREFIX = "HABITAT_"
#: HABITAT_ variables that are not configuration keys.
ENVIRONMENT_OTHERS = frozenset({"HABITAT_CONFIG"})
#: Our own networks, by name.
NETWORKS = "habitat_like.networks.catalogue:BUILT_IN"
#: Settings of sinks and networks with such names are not shown.
SECRET = re.compile("password|secret|token|key$", re.IGNORECASE)
#: What PyYAML raises for a text that it can't read.
YAML_ERRORS = (
    *(yaml.YAMLError, RecursionError, ValueError),
    *(AttributeError, KeyError, OverflowError),  # a value that is not what its tag says
)
#: What names a socket elsewhere, and would be a file of that name here.
_ADDRESS = re.compile(r"(unix|tcp|scgi):.*|[^/]*:[0-9]+", re.DOTALL)
#: Values of a configuration, with what aliases repeat: a few lines of them can make billions.
MAX_VALUES = 100_000


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file, apply the environment's overrides, check it all.

    ``path`` is the file; None means ``$HABITAT_CONFIG`` or, if neither is given, the default path
    if that exists and the built-in defaults if not. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    source = find(path, environ)
    text = _text(source) if source else ""
    tree: dict[str, Any] = _read(source, text) if source else {}
    try:
        _check_names(tree)
        for key, variable in environment_keys().items():
            if variable in environ:
                _put(tree, key, _from_environment(key, environ[variable], variable))
        _override_networks(tree, environ)
        _check_texts(tree, "", (), itertools.count())
        if "sinks" in tree:
            tree["sinks"] = _sinks(tree["sinks"])
        config = _convert(tree)
        _check(config)
        if found := hints.misread(text, _numbers(tree)):
            raise ConfigError(found[1], found[0])
    except ConfigError as error:
        variable = environment_keys().get(error.key.partition("[")[0], "")
        written = environ.get(variable) or hints.written(text).get(error.key, "")
        reason = error.reason + hints.hint(error.reason, written)
        where = error.where or origin(error.key, path, environ)
        raise ConfigError(reason, error.key, where) from None
    return config


def find(path: str | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The file that ``load`` reads; None if it uses the built-in defaults."""
    environ = os.environ if environ is None else environ
    named = path or environ.get("HABITAT_CONFIG")
    if named:
        return Path(named)
    default = Path(DEFAULT_PATH)
    return default if default.exists() else None


def environment_keys() -> dict[str, str]:
    """The environment variable that overrides each configuration key."""
    return {key: ENVIRONMENT_PREFIX + key.replace(".", "_").upper() for key, _ in keys()}


def origin(key: str, path: str | None, environ: Mapping[str, str] | None = None) -> str:
    """What set ``key``: a variable of the environment, or the file that ``load(path)`` reads."""
    environ = os.environ if environ is None else environ
    key = key.partition("[")[0]
    variable = environment_keys().get(key, "")
    if key.startswith("networks.") and _network_variable(key) in environ:
        variable = _network_variable(key)
    if variable in environ:
        return f"environment variable {variable}"
    return str(find(path, environ) or DEFAULT_PATH)


def unknown_environment(environ: Mapping[str, str], config: Config | None = None) -> list[str]:
    """One line for each HABITAT_ variable that overrides nothing, with the nearest valid name.

    With ``config``, variables of enabled networks count as overrides.
    """
    known = set(environment_keys().values()) | ENVIRONMENT_OTHERS
    for name in () if config is None else config.networks:
        begin = f"{_network_variable(f'networks.{name}')}_"
        known |= {variable for variable in environ if variable.startswith(begin)}
    return [
        f"environment variable {name} overrides no key{nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


def effective(config: Config) -> dict[str, Any]:
    """The configuration as plain data, with secrets masked, for display."""
    tree = cast("dict[str, Any]", msgspec.to_builtins(config))
    tree["archive"]["uri"] = mask(tree["archive"]["uri"])
    tree["sinks"] = [_shown(sink) for sink in config.sinks]
    for name, settings in config.networks.items():
        tree["networks"][name] = _masked(settings or {})
    return tree


def _shown(sink: SinkConfig) -> str | dict[str, Any]:
    """A sink as written in the file, with secrets masked."""
    settings = _masked(sink.settings)
    if sink.name != sink.path:
        settings = {"name": sink.name, **settings}
    return {sink.path: settings} if settings else sink.path


def _masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the secrets among them masked."""
    return {
        name: "***" if SECRET.search(name) else mask(value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that appears twice instead of taking the last one.

    A value that is not what its form or tag says, such as 2026-13-45, is an error with its line.
    """

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Build a value; raises yaml.YAMLError where its text can't be one."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError, OverflowError):
            kind = str(node.tag).rpartition(":")[2]
            reason = f"this can't be read as {kind}; if it is text, put it in quotes, without a tag"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises yaml.YAMLError for a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
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


class TextLoader(_Loader):
    """The same for files in which all values are text: YAML takes 11:22:33 for a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (as in its base)


def _numbers(tree: Mapping[str, Any]) -> set[str]:
    """The dotted keys whose values are numbers."""
    return {
        f"{section}.{name}"
        for section, below in tree.items()
        if isinstance(below, dict)
        for name, value in below.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another file with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None


def _read(path: Path, text: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506 (derived from the safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: {problem}") from None
    except YAML_ERRORS as error:
        raise ConfigError(f"{path}: can't be read as YAML ({error})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'gateway:', got {_kind(tree)}")
    for section in {key.partition(".")[0] for key, _ in keys() if "." in key} | {"networks"}:
        if section in tree and tree[section] is None:
            tree[section] = {}
    return tree


def _check_texts(value: Any, key: str, above: tuple[Any, ...], numbers: Iterator[int]) -> None:
    """Refuse a text that is not UTF-8, a value inside itself, and too many values.

    ``numbers`` counts the values. Raises ConfigError.
    """
    if next(numbers) > MAX_VALUES:
        raise ConfigError(f"over {MAX_VALUES} values, as aliases repeat them; write it out")
    if isinstance(value, str):
        # What the environment has in other encodings comes as surrogates.
        if "\0" in value or re.search("[\ud800-\udfff]", value):
            raise ConfigError(f"{value!a} has a NUL or is not UTF-8 text", key)
    elif isinstance(value, dict | list):
        if any(value is one for one in above):
            raise ConfigError("is inside itself; write it out", key)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, below in items:
            place = f"[{name}]" if isinstance(value, list) else ascii(name).strip("'")
            _check_texts(below, join(key, place), (*above, value), numbers)


def _check_names(tree: dict[Any, Any]) -> None:
    """Refuse an unknown key, with the nearest valid name. Raises ConfigError."""
    known = facts()
    sections = {key.partition(".")[0] for key in known}
    for section, value in tree.items():
        if section in known and "." in str(section):
            group, _, name = str(section).partition(".")
            raise ConfigError(f"{section!r} is written as '{name}:' below '{group}:'")
        if section not in sections:
            _check_moved(str(section), value)
            near = nearest(str(section), [*sections, *known])
            raise ConfigError(f"unknown key {section!r}{near}")
        if section in known or not isinstance(value, dict):
            continue
        for name in value:
            if f"{section}.{name}" not in known:
                near = nearest(f"{section}.{name}", known)
                raise ConfigError(f"unknown key '{section}.{name}'{near}")
        if isinstance(value.get("socket_mode"), int):
            raise ConfigError('put the mode in quotes, as in "0660"', f"{section}.socket_mode")


def _check_moved(section: str, value: Any) -> None:
    """Say where a network's keys belong, for one written as a top-level section."""
    if section in pkgutil.resolve_name(NETWORKS):
        below = value if isinstance(value, dict) else {}
        names = ", ".join(f"networks.{section}.{name}" for name in below) or f"networks.{section}"
        raise ConfigError(f"unknown key {section!r}; networks have a section: write {names}")


def _network_variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def _override_networks(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Apply the environment's overrides to the settings of the enabled networks.

    Only a network knows its keys, so unknown ones are found there. Raises ConfigError for invalid
    settings.
    """
    networks = tree.get("networks", {})
    if not isinstance(networks, dict):
        reason = "expected the name of each network with its settings, {} for none"
        raise ConfigError(reason, "networks")
    overridden = {}
    for name, settings in networks.items():
        if not isinstance(settings, dict | None):
            raise ConfigError("expected settings, {} for none", f"networks.{name}")
        begin = f"{_network_variable(f'networks.{name}')}_"
        given = {
            variable.removeprefix(begin).lower(): text
            for variable, text in environ.items()
            if variable.startswith(begin)
        }
        overridden[name] = {**(settings or {}), **given} if given else settings
    if overridden:
        tree["networks"] = overridden


def _convert(tree: dict[str, Any]) -> Config:
    try:
        return msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        key, reason = explain(error)
        fact = facts().get(key.partition("[")[0])
        if fact is not None and fact.choices:
            reason += f"; one of {', '.join(fact.choices)}"
        raise ConfigError(reason, key) from None


def _sinks(listed: Any) -> Any:
    """The sinks as SinkConfig has them: a path, or a mapping of one path to settings, each."""
    if not isinstance(listed, list | tuple):
        raise ConfigError("expected a list of dotted paths", "sinks")
    found = []
    for index, entry in enumerate(listed):
        key = f"sinks[{index}]"
        settings: Any = None
        path = entry
        if isinstance(entry, dict):
            if len(entry) != 1:
                raise ConfigError("expected 'package.module.Sink: {settings}', one per line", key)
            path, settings = next(iter(entry.items()))
        if not isinstance(path, str) or not path:
            raise ConfigError("expected a dotted path such as package.module.Sink", key)
        if settings is not None and not isinstance(settings, dict):
            raise ConfigError(f"expected settings, as in '{path}: {{name: value}}'", key)
        settings = dict(settings or {})
        name = settings.pop("name", path)
        found.append({"path": path, "name": name, "settings": settings})
    return found


def _check(config: Config) -> None:
    """The checks that types can't express. Raises ConfigError."""
    for section, sockets in (("gateway", config.gateway), ("control", config.control)):
        try:
            socket_mode(sockets.socket_mode)
        except ValueError as error:
            raise ConfigError(str(error), f"{section}.socket_mode") from None
        if len(os.fsencode(sockets.socket)) > 107:
            # sizeof(sun_path) less the final NUL, see unix(7).
            raise ConfigError("a UNIX socket's path has at most 107 bytes", f"{section}.socket")
    _check_paths(config)
    for name in ("allow", "deny"):
        for text in getattr(config.access, name):
            try:
                IpNetworks([text])
            except ValueError as error:
                hint = "write 192.0.2.0/24, 2001:db8::/32 or one address"
                raise ConfigError(f"{error}; {hint}", f"access.{name}") from None
    _check_tiles(config.console)
    if config.archive.retry_min > config.archive.retry_max:
        raise ConfigError("larger than archive.retry_max", "archive.retry_min")
    names = [sink.name for sink in config.sinks]
    for index, name in enumerate(names):
        if name in names[:index]:
            hint = "give one of them another name, as in '{name: second}'"
            raise ConfigError(f"the sink {name} appears twice; {hint}", f"sinks[{index}]")


def _check_paths(config: Config) -> None:
    """Refuse two files of the gateway at one path: the log's lines would ruin the journal."""
    scheme, _, archive = config.archive.uri.partition(":")
    paths = {
        "gateway.socket": config.gateway.socket,
        "control.socket": config.control.socket,
        "journal.path": config.journal.path,
        "archive.uri": archive if scheme == "sqlite" else None,
        "log.file": config.log.file,
    }
    if config.journal.path == ":memory:":
        raise ConfigError("messages must be on disk; name a file", "journal.path")
    seen: dict[str, str] = {}
    for key, path in paths.items():
        if path and path.startswith("~/"):
            raise ConfigError("~ is no home directory here; write the whole path", key)
        if path and key.endswith(".socket") and _ADDRESS.fullmatch(path):
            reason = "not the path of a UNIX socket, such as /run/habitat/habitat.sock"
            raise ConfigError(reason, key)
        if path and (first := seen.setdefault(os.path.abspath(path), key)) != key:  # noqa: PTH100
            raise ConfigError(f"this is {first}; choose another path", key)


def _check_tiles(console: ConsoleConfig) -> None:
    if console.tiles is not None:
        try:
            host_of(console.tiles)
        except ValueError as error:
            raise ConfigError(str(error), "console.tiles") from None
    elif console.tiles_attribution is not None:
        raise ConfigError("there are no tiles; set console.tiles", "console.tiles_attribution")


def _from_environment(key: str, text: str, variable: str) -> Any:
    fact = facts()[key]
    if not fact.is_list:
        return None if fact.default is None and text == "" else text
    try:
        value = yaml.safe_load(text)
    except YAML_ERRORS:
        reason = "not a YAML list or a comma-separated one"
        raise ConfigError(reason, where=f"environment variable {variable}") from None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if value is None:
        return {} if isinstance(fact.default, dict) else []
    return value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if not name:
        tree[section] = value
    else:
        below = tree.get(section)
        tree[section] = {**below, name: value} if isinstance(below, dict) else {name: value}


def _kind(value: Any) -> str:
    return {str: "text", list: "a list", int: "a number"}.get(type(value), type(value).__name__)

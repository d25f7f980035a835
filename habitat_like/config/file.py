"""The typed configuration: the one place that knows the keys, their defaults and their meaning."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
import yaml

from habitat_like.config import networks
from habitat_like.config.addresses import Networks
from habitat_like.config.archive_uri import archive_uri, mask
from habitat_like.config.keys import Config, ConfigError, keys, socket_mode

DEFAULT_PATH = "/etc/habitat/config.yml"
ENVIRONMENT_PREFIX = "HABITAT_"
#: HABITAT_ variables that are not configuration keys.
ENVIRONMENT_OTHERS = frozenset({"HABITAT_CONFIG"})


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
    if config.networks:
        settings = networks.convert(config.networks, path, where, environ)
        config = msgspec.structs.replace(config, networks=settings)
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


def environment_keys() -> dict[str, str]:
    """The environment variable that overrides each configuration key."""
    return {key: ENVIRONMENT_PREFIX + key.replace(".", "_").upper() for key, _ in keys()}


def unknown_environment(environ: Mapping[str, str], config: Config | None = None) -> list[str]:
    """One line for each HABITAT_ variable that overrides nothing, with the nearest right name.

    With ``config``, the keys of the networks that are on are known.
    """
    known = set(environment_keys().values()) | ENVIRONMENT_OTHERS
    for name, settings in (config.networks if config is not None else {}).items():
        known |= {networks.variable(name, key) for key in settings.__struct_fields__}
    return [
        f"environment variable {name} overrides no key{_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


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


class TextLoader(_Loader):
    """The same for files in which all values are text: YAML takes 11:22:33 for a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (as in its base)


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
    for section in {key.partition(".")[0] for key, _ in keys() if "." in key} | {"networks"}:
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
            if networks.is_built_in(str(section)):
                keys_ = value if isinstance(value, dict) else {"": None}
                names = ", ".join(f"networks.{section}.{key}".rstrip(".") for key in keys_)
                raise ConfigError(f"{where}: unknown key {section!r}; write it as {names}")
            near = _nearest(str(section), [*sections, *known])
            raise ConfigError(f"{where}: unknown key {section!r}{near}")
        if section in ("types", "networks") or not isinstance(value, dict):
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
        "networks",
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
            return {} if key in ("types", "networks") else []
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

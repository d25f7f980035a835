"""The settings of networks: each network has a Struct of its own for what is below its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import yaml

from habitat_like.config.keys import ConfigError

#: Where networks are found by their names: this package knows none of them.
CATALOGUE = "habitat_like.networks.catalogue"
ENVIRONMENT_PREFIX = "HABITAT_NETWORKS_"


def variable(name: str, key: str) -> str:
    """The environment variable that overrides a network's key."""
    return f"{ENVIRONMENT_PREFIX}{name}_{key}".replace(".", "_").upper()


def is_built_in(name: str) -> bool:
    """Whether one of our networks has this name."""
    return name in _catalogue("BUILT_IN")


def convert(
    given: Mapping[str, Any], path: str | None, where: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The settings of the ``given`` networks as their Structs, with the environment's on top.

    ``path`` is the configuration's, beside which an operator's own modules lie; ``where`` is what
    errors name. Raises ConfigError.
    """
    from habitat_like.config.imports import make_importable  # noqa: PLC0415 (it imports file)

    if any("." in name for name in given):
        make_importable(path)
    return {name: _settings(name, value, where, environ) for name, value in given.items()}


def _settings(name: str, value: Any, where: str, environ: Mapping[str, str]) -> Any:
    try:
        struct: type[msgspec.Struct] = _catalogue("find")(name).Settings
    except ConfigError as error:
        raise ConfigError(f"{where}: networks: {error}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: networks.{name}: expected its keys, or {{}} for none")
    known = list(struct.__struct_fields__)
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key).lower(), known, n=1)
            hint = f"; did you mean 'networks.{name}.{near[0]}'?" if near else _all(name, known)
            raise ConfigError(f"{where}: unknown key 'networks.{name}.{key}'{hint}")
    given = dict(value)
    for key in known:
        if (text := environ.get(variable(name, key))) is not None:
            given[key] = _from_environment(text, variable(name, key), struct, key)
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, name, struct, where, environ)) from None


def _all(name: str, known: list[str]) -> str:
    if not known:
        return f"; networks.{name} has no keys"
    return f"; the keys are {', '.join(f'networks.{name}.{key}' for key in known)}"


def _from_environment(text: str, name: str, struct: type[msgspec.Struct], key: str) -> Any:
    """A variable's text; for a list or a mapping it is YAML, or separated by commas."""
    kind = get_origin(get_type_hints(struct)[key])
    if kind not in (list, tuple, dict, set, frozenset):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{name}: not a YAML list or a comma-separated one") from None
    if isinstance(value, str) and kind is not dict:
        return [part.strip() for part in value.split(",") if part.strip()]
    return ({} if kind is dict else []) if value is None else value


def _explain(
    error: msgspec.ValidationError,
    name: str,
    struct: type[msgspec.Struct],
    where: str,
    environ: Mapping[str, str],
) -> str:
    """msgspec's message as ``file: key: what is wrong``."""
    reason, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    field = key.partition("[")[0].partition(".")[0]
    reason = reason.replace("`", "")
    if variable(name, field) in environ:
        where = variable(name, field)
    hint = get_type_hints(struct).get(field)
    if get_origin(hint) is Literal:
        reason += f"; one of {', '.join(map(str, get_args(hint)))}"
    return f"{where}: networks.{name}{f'.{key}' if key else ''}: {reason}"


def _catalogue(part: str) -> Any:
    from habitat_like.config.imports import import_path  # noqa: PLC0415 (it imports file)

    return import_path(f"{CATALOGUE}.{part}")

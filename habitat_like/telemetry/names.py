"""The operator's data about Horus Binary payloads: files of names and of custom fields."""

from __future__ import annotations

import struct

import msgspec

from habitat_like.config.keys import Config, ConfigError
from habitat_like.config.settings import explain
from habitat_like.telemetry.configuration import read_text
from habitat_like.telemetry.horus import CUSTOM, NO_NAMES, SCALES, CustomFields, Names


def read(ids: str | None, fields: str | None) -> Names:
    """The names in the file ``ids`` and the custom fields in the file ``fields``.

    Raises ConfigError.
    """
    return Names(
        {} if ids is None else read_ids(ids), {} if fields is None else read_fields(fields)
    )


def read_ids(path: str) -> dict[int, str]:
    """The names in a ``payload_id_list.txt``: a number and a name in each line. Raises ConfigError.

    Empty lines and those that begin with # are skipped.
    """
    found = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        identifier, _, name = line.partition(",")
        if not identifier.strip().isdecimal() or len(identifier) > 10 or not name.strip():
            raise ConfigError(
                "expected a number and a name, as in 256,4FSKTEST-V2", where=f"{path} line {number}"
            )
        found[int(identifier)] = name.strip()
    return found


def read_fields(path: str) -> dict[str, CustomFields]:
    """The custom fields in a ``custom_field_list.json``. Raises ConfigError."""
    try:
        found = msgspec.json.decode(read_text(path), type=dict[str, CustomFields])
    except msgspec.ValidationError as error:
        key, reason = explain(error)
        raise ConfigError(reason, key, path) from None
    except (msgspec.DecodeError, RecursionError):
        raise ConfigError("not JSON", where=path) from None
    for name, custom in found.items():
        try:
            size = struct.calcsize(custom.struct)
        except struct.error as error:
            raise ConfigError(str(error), f"{name}.struct", path) from None
        if size > CUSTOM:
            raise ConfigError(f"{size} bytes, there are {CUSTOM}", f"{name}.struct", path)
        for field, scale in custom.fields:
            if scale not in SCALES:
                reason = f"{field}: {scale!r} is none of {', '.join(SCALES)}"
                raise ConfigError(reason, f"{name}.fields", path)
    return found


def of_config(config: Config) -> Names:
    """The names that a configured parser knows; none if there is no parser, or a bad file."""
    for sink in config.sinks:
        ids, fields = (sink.settings.get(name) for name in ("payload_ids", "custom_fields"))
        try:
            if ids or fields:
                return read(ids, fields)
        except ConfigError:
            continue
    return NO_NAMES

"""Reload: what of a new configuration can be put in force while the gateway runs. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from habitat_like.config.keys import Config, facts

#: The keys that a reload puts in force; everything else needs a restart.
RELOADABLE = frozenset(key.name for key in facts().values() if key.reloadable)


class Reloaded(NamedTuple):
    """What a reload did: keys that are in force, keys that wait for a restart, sinks that failed.

    ``refused`` is why nothing at all was changed, None where that is not so.
    """

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    refused: str | None = None


def differences(old: Config, new: Config) -> Iterator[str]:
    """The dotted keys whose values differ."""
    for key in facts():
        if _get(old, key) != _get(new, key):
            yield key


def put_in_force(old: Config, new: Config) -> Config:
    """``old`` with what is reloadable taken from ``new``.

    What needs a restart stays as it is, so that what is shown is true and a later reload names it
    again.
    """
    sections: dict[str, Any] = {}
    for key in RELOADABLE:
        section, _, name = key.partition(".")
        if name:
            before = sections.get(section, getattr(old, section))
            sections[section] = msgspec.structs.replace(before, **{name: _get(new, key)})
        else:
            sections[section] = getattr(new, section)
    return msgspec.structs.replace(old, **sections)


def _get(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(config, section)
    return getattr(value, name) if name else value

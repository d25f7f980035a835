"""Settings: plain data from a file or the environment, checked against a Struct.

This reads the sections of the configuration, and the settings of sinks and networks, which have
their own Structs. Every mistake is a ConfigError that names the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from habitat_like.config import hints
from habitat_like.config.keys import ConfigError

T = TypeVar("T", bound=msgspec.Struct)


def convert(tree: Any, struct: type[T], key: str) -> T:
    """The ``struct`` that ``tree`` (a mapping, or None for an empty one) describes.

    ``key`` is the dotted key of ``tree``. Texts are converted to numbers where a number is
    expected. Raises ConfigError.
    """
    tree = {} if tree is None else tree
    if isinstance(tree, Mapping):
        known = [field.encode_name for field in msgspec.structs.fields(struct)]
        for name in tree:
            if name not in known:
                near = nearest(str(name), known)
                raise ConfigError(f"unknown key {join(key, str(name))!r}{near}")
    try:
        return msgspec.convert(tree, struct, strict=False)
    except msgspec.ValidationError as error:
        name, reason = explain(error)
        raise ConfigError(reason + hints.hint(reason, ""), join(key, name)) from None


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The key, and what is wrong with it, from msgspec's message."""
    reason, _, path = str(error).replace("at `key` in ", "at ").partition(" - at `$")
    return path.rstrip("`").lstrip("."), reason.replace("`", "")


def join(key: str, name: str) -> str:
    """``name`` below ``key``, dotted; either may be empty, and ``name`` may be an index."""
    if not key or not name or name.startswith("["):
        return key + name
    return f"{key}.{name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name closest to ``name``; dotted ones compare by their last part."""
    by_part: dict[str, str] = {}
    for one in sorted(known, key=lambda one: not one.startswith(name.partition(".")[0] + ".")):
        by_part.setdefault(one.rpartition(".")[2].lower(), one)
    part = name.rpartition(".")[2].lower()
    import difflib  # noqa: PLC0415 (slow to import, and only needed for mistakes)

    near = difflib.get_close_matches(part, by_part, n=1, cutoff=0.6)
    return f"; did you mean {by_part[near[0]]!r}?" if near else ""

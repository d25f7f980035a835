"""The configuration file: keys are set in its text, so that comments and all else stay."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from habitat_like import archive
from habitat_like import config as configuration
from habitat_like.cli.setup import shipped
from habitat_like.cli.setup.effects import ROOT, Effects, SetupError, read
from habitat_like.cli.setup.wanted import USERS_FILE, Wanted
from habitat_like.config.file import TextLoader
from habitat_like.config.keys import Config, ConfigError


class ConfigurationStep:
    """The file has the keys that were asked for, and can be used."""

    name = "configuration"

    def __init__(self, wanted: Wanted) -> None:
        """Remember what is wanted; no I/O."""
        self._wanted = wanted
        self._path = wanted.config

    def lacking(self) -> str | None:
        """See ``Step``."""
        text = read(self._path)
        if text is None:
            return f"there is no {self._path}"
        load(self._path)
        changed = self._differing(text)
        return f"{', '.join(changed)} in {self._path}" if changed else None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        if not self._path.parent.is_dir():
            effects.directory(self._path.parent, 0o755)
        text = read(self._path)
        begun = shipped.text("config.yml") if text is None else text
        mode = stat.S_IMODE(self._path.stat().st_mode) if text is not None else 0o644
        changes = self._keys()
        new = set_keys(begun, {key: changes[key] for key in self._differing(begun)})
        effects.write(self._path, new, mode, ROOT)

    def _keys(self) -> dict[str, str | None]:
        wanted = self._wanted
        keys = {"archive.uri": wanted.archive, "archive.password_file": wanted.password_file}
        if wanted.console_user is not None:
            keys["console.password_file"] = str(USERS_FILE)
        return keys

    def _differing(self, text: str) -> list[str]:
        present = values(text)
        return [
            key for key, value in self._keys().items() if not _is_so(key, present.get(key), value)
        ]


def _is_so(key: str, present: Any, wanted: str | None) -> bool:
    # A console that has its users elsewhere stays as it is.
    return present == wanted or (key == "console.password_file" and bool(present))


def load(path: Path) -> Config:
    """The configuration in the file, without the environment's. Raises SetupError."""
    try:
        config = configuration.load(str(path), {})
        archive.check(config.archive)
    except ConfigError as error:
        raise SetupError(f"{error}; repair it, and run this again") from None
    return config


def values(text: str) -> dict[str, Any]:
    """The keys that are set in a configuration's text, dotted. Raises SetupError."""
    try:
        tree = yaml.load(text, TextLoader) or {}  # noqa: S506 (derived from the safe loader)
    except yaml.YAMLError as error:
        raise SetupError(f"the configuration is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise SetupError("the configuration has no sections such as 'gateway:'")
    found = {}
    for section, below in tree.items():
        for name, value in below.items() if isinstance(below, dict) else ():
            found[f"{section}.{name}"] = None if value in ("null", "~", "") else value
    return found


def set_keys(text: str, changes: Mapping[str, str | None]) -> str:
    """``text`` with these keys, ``section.name``, set; None is written as null.

    All else stays, comments too. Raises SetupError where the text is laid out in a way that this
    can't do.
    """
    wanted = {**values(text), **changes}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        text = _with_key(text, section, f"{name}: {'null' if value is None else _scalar(value)}")
    try:
        is_done = values(text) == wanted
    except SetupError:
        is_done = False
    if not is_done:
        keys = ", ".join(f"{key}: {_scalar(value or 'null')}" for key, value in changes.items())
        raise SetupError(f"set these yourself, as it is laid out in an unusual way: {keys}")
    return text


def _with_key(text: str, section: str, line: str) -> str:
    """``text`` with ``line``, a name and a value, in its place or at the section's beginning."""
    found = re.search(rf"^{section}:[ \t]*(?:#.*)?$", text, re.M)
    if found is None:
        separated = text if text.endswith("\n") or not text else f"{text}\n"
        return f"{separated}\n{section}:\n  {line}\n"
    end = re.compile(r"^[^\s#]", re.M).search(text, found.end())
    stop = end.start() if end else len(text)
    body = text[found.end() : stop]
    indent = re.search(r"^([ ]+)[^\s#]", body, re.M)
    line = f"{indent[1] if indent else '  '}{line}"
    key = re.compile(rf"^[ ]+{line.partition(':')[0].strip()}:.*(?:\n[ ]{{4,}}[^\s#:]+$)?", re.M)
    if key.search(body):
        body = key.sub(lambda _: line, body, count=1)
    else:
        body = f"\n{line}{body or chr(10)}"
    return text[: found.end()] + body + text[stop:]


def _scalar(value: str) -> str:
    """``value`` as YAML, in quotes where it needs them."""
    if re.fullmatch(r"[A-Za-z/][\w/.:@+-]*", value) and not value.endswith(":"):
        return value
    return msgspec.json.encode(value).decode()

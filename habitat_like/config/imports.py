"""Dotted paths in the configuration: where they lead, and the objects there."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from habitat_like.config.file import find


def make_importable(path: str | None) -> None:
    """Let dotted paths find modules next to the file that ``load(path)`` reads."""
    source = find(path)
    if source is not None and str(source.resolve().parent) not in sys.path:
        sys.path.append(str(source.resolve().parent))


def import_path(path: str) -> Any:
    """The object at the dotted ``path``. Raises ValueError with one line."""
    module, _, name = path.rpartition(".")
    if not module or not name:
        raise ValueError(f"{path!r} is not a dotted path such as package.module.Name")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise ValueError(f"{path}: the module {module} has no {name}") from None
    except (Exception, SystemExit) as error:
        # Whatever an operator's own module raises on import belongs in one line.
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from None
